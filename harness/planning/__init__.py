"""Plan of a run: users, rooms, texts and arrivals. It depends only on a seed and on numbers."""
