"""A fit that is watched and steered: in a browser, or in a notebook."""
