"""A result as text, for a terminal and for a notebook."""
