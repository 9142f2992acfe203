"""Engine of the judge: the fold over records, the tables that all checks share, and the one pass that fills them."""
