"""Backups: making, keeping, reading and verifying them, and restoring one on an empty machine."""
