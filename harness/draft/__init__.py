"""Drafts of target files from a browser's recording: `earwitness draft SESSION.har`."""
