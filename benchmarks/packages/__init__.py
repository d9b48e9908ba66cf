"""The original packages, driven by scripts that run in the engines' environments."""
