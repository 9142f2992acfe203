"""Behaviours of users beside chatting: tokens, devices, floods, leaving, asking, reading and more."""
