"""Other clients of the same echo server: Node's `ws`, and what C can do at most."""
