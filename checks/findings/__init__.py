"""Counterexamples: findings as sentences, lines and swim-lanes, with the records that prove them.

`sentences.tell` returns the sentence and the lines, `scene.scene` the swim-lane. `sentences` imports all checks and the
compiler (numba); the other files do not.
"""
