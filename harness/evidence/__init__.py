"""Proof that the checks find defects: runs of each defect with several seeds, and the pages that show their results."""
