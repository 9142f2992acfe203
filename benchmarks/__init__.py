"""Speed, measured against other tools: `python -m benchmarks` prints the table."""
