"""Media servers that are told of new entries in the library."""
