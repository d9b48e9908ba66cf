"""How an engine is found, started, watched and stopped."""
