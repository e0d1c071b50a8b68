"""Fits that stay current as rows arrive."""
