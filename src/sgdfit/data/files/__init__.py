"""Files of columns: which are meant, where their bytes are, and the pieces they are read in."""
