"""Trial of a target file with two users: whether the file fits the platform, and which promises a run could judge."""
