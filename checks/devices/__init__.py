"""Checks of state that the devices of a person share, and of presence."""
