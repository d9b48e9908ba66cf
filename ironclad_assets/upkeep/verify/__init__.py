"""Verifying: every manifest against every file, and the ledger against both."""
