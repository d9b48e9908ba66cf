"""The running system and the demo."""
