"""Deezer's Spleeter: its networks on a fast CPU runtime, and the package itself as the reference."""
