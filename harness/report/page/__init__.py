"""`report.html`: one self-contained page for each run, readable without a script and without a network."""
