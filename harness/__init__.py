"""Everything around the checks: clients, recorder, dialects, load, report, and the reference platform."""

if __name__ != "earwitness.harness":
    raise ImportError(f"import earwitness.harness instead of {__name__}")
