"""Checks of deployments, outages and circuit breakers."""
