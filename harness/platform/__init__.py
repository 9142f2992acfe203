"""The platform under test as real processes: started, watched, disturbed on request, and always ended."""
