"""The virus scanner: asking clamd about a file, and what its answer means."""
