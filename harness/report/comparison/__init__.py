"""Comparison of two states of a platform: figures of runs, statistics over runs, sets of runs that are kept."""
