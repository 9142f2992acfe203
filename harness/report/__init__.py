"""Judging of a run directory, and output of the verdict: text, JUnit XML, HTML page and figures."""
