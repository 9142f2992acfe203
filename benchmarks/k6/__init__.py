"""Benchmark of k6 with the same work as `benchmarks.client`. k6 is a separate program, no dependency of Earwitness."""
