"""Delimited text: its dialect, its blocks of whole rows, and the types of its columns."""
