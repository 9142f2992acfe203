"""Conformance: what real servers keep of the promises of their protocols, `earwitness conform`."""
