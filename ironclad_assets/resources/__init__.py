"""What assets are given: engines, and how failures are told."""
