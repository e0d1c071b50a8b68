"""Fit curves by stochastic gradient descent and see every step."""

__version__ = "0.1.0"
