"""Sweeps: what may go of a store, how that is planned and guarded, and the hands that take it away."""
