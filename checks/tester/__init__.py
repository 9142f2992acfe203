"""Checks of the tester itself (H1 to H8): whether the record is complete and correct, and the planned load reached."""
