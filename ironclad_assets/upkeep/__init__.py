"""Keeping an installation in order: sweeping, verifying, deleting, backing up and restoring it."""
