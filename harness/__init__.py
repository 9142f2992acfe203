"""Everything around the checks: clients, recorder, dialects, load, report, and the reference platform."""

if __name__ != "earwitness.harness":
    raise ImportError(f"the package is called earwitness.harness; it was imported as {__name__}")
