"""Counterexamples: findings as sentences, lines and swim-lanes, with the records that prove them.

`sentences.tell` gives the sentence and the lines, `scene.scene` the swim-lane. `sentences` imports all checks, and with
them the compiler; the other files do not.
"""
