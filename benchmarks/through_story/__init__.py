"""Messages of whole load tests: a story of ours, and a plain user of Locust, both run by `locust`."""
