"""Dialects: one protocol to speak to any platform, its optional parts, and the registry that opens a target."""
