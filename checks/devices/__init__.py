"""Checks of state that the devices of a user share, and of who is shown as online."""
