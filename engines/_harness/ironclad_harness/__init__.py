"""The worker side of the engine protocol: standard library and numpy only."""
