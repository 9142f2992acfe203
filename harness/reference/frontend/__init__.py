"""The page of the chat, and its way to auth and backend: `python -m earwitness.harness.reference.frontend`."""
