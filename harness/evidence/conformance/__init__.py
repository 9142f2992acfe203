"""Conformance (`earwitness conform`): which promises of their protocols real servers keep."""
