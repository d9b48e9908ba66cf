"""Deleting songs and users for good: every place where a trace of them can be, and the tombstones that stay."""
