"""Versioned contracts: the only types that every layer shares. One folder a major version."""
