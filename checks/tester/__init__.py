"""Checks of the tester itself (H1 to H8), which show whether the record is fit to judge by."""
