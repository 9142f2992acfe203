"""Dialect of a platform that a target file describes."""
