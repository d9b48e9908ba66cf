"""The job ledger: songs, jobs, their states and history."""
