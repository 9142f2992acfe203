"""Page of the chat, and its proxy to auth and backend: `python -m earwitness.harness.reference.frontend`."""
