"""Everything that touches samples and containers; runs in child processes only."""
