"""How contracts are stored and loaded."""
