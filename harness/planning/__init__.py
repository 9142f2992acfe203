"""Plan of a run, a pure function of seed and numbers: people, rooms, texts, arrivals."""
