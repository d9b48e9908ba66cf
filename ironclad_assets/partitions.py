"""The song partition: one dynamic partition for each uploaded song."""

import dagster as dg

songs = dg.DynamicPartitionsDefinition(name="songs")

PIPELINE_VERSION = "1"
"""Part of every run key; raise it when finished songs must be able to run again under the same attempt."""
