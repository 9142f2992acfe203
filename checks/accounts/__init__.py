"""Checks of tokens, sessions and accounts."""
