"""The command line, `pipelinectl`."""
