"""A result as pictures."""
