"""Plan of a run, computed from a seed and numbers alone: users, rooms, texts, arrivals."""
