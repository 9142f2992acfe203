"""k6 doing the same work as `benchmarks.client`, as a separate program that is no dependency of ours."""
