"""Benchmarks of whole load tests that `locust` runs: a story of Earwitness, and a plain user of Locust."""
