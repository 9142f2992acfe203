"""Dialect of the reference platform."""
