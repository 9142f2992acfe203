"""Format of the record: layout of its 64 bytes, and its kinds and flags."""
