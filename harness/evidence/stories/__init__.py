"""Stories that the tester tells about itself: run by `earwitness defects --matrix`."""
