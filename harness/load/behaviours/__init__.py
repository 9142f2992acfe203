"""Behaviours of users besides chatting: tokens, devices, floods, leaving, asking, reading and more."""
