"""Demucs as an engine: its own networks and weights, streamed by the harness."""
