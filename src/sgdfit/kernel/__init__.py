"""The two operations that everything stands on, in NumPy and compiled."""
