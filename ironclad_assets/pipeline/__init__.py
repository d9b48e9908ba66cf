"""The rooms a song passes, as pure functions; they do not import each other."""
