"""Judging of a run directory, and the output of the verdict: terminal, JUnit XML, figures."""
