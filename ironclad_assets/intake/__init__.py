"""One way in for files, whichever door they came through."""
