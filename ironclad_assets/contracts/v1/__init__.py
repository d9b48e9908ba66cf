"""Contracts, major version 1. Only optional fields may be added here; anything else is v2."""
