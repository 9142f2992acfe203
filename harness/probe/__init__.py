"""Trial of a target file with two users: whether it fits its platform, and what could be judged."""
