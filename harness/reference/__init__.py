"""The reference platform: a small, real chat platform, only ever run as processes."""
