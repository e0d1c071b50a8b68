"""Formulas as a language: the table of functions, text and Python functions to expressions."""
