"""Dialects of protocols that many platforms speak. Each is one module with `PROMISES` and `open_dialect`."""
