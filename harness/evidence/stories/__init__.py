"""Stories that test the tester itself, run by `earwitness defects --matrix`."""
