"""Benchmarks of other clients of the same echo server: Node's `ws`, and a C client as the fastest possible one."""
