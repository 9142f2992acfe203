"""Benchmarks of speed, compared with other tools: `python -m benchmarks` prints the table."""
