"""Checks of the tester itself (H1 to H8), which show whether the record is sound enough to judge by."""
