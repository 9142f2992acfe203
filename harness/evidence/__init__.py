"""Proof that the checks find defects: defects by seeds on the real platform, and the pages that show it."""
