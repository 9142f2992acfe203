"""Judging a run directory, and telling the verdict: terminal, JUnit XML, figures."""
