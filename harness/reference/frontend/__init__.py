"""The page of the chat, and the way from it to auth and backend. Run as `python -m harness.reference.frontend`."""
