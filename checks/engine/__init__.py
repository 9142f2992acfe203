"""Engine of the judge: the fold over records, the tables that all checks share, and the pass that fills them."""
