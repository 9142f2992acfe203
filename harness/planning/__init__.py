"""Plan of a run, a pure function of seed and numbers: users, rooms, texts, arrivals."""
