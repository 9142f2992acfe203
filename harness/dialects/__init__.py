"""Dialects: how to speak to a platform. One protocol, optional parts, and a registry that finds the dialect of a
target."""
