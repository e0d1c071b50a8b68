"""Anything that holds columns, read as arrays of numbers."""
