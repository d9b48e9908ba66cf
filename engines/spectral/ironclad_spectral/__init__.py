"""The built-in engine: separation by the shape of sounds, without weights."""
