"""The platform under test as real processes: started, watched, hurt on request, and always taken down."""
