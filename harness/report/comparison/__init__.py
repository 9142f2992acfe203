"""Comparison of two states of a platform: figures of runs, statistics over runs, and stored sets of runs."""
