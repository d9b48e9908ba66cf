"""The template engine."""
