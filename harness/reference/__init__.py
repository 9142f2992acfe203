"""The reference platform: a small, real chat platform, which only ever runs as processes."""
