"""The conformance suite: what every engine must prove, whoever wrote it."""
