"""Starting values, found from the formula and the data."""
