"""Recording: the journal (hot path), reading a run's history, run directories, export and import."""
