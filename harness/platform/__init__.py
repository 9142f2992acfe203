"""The reference platform as real processes: started, supervised, disturbed by faults, and always ended."""
