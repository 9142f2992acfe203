"""A run without Locust or pytest: the platform under test, faults, samples, final reads, the judge process."""
