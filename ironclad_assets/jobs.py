"""The jobs that operators launch and the dispatcher requests."""

import dagster as dg

process_song = dg.define_asset_job(
    "process_song",
    selection=dg.AssetSelection.all(),
    executor_def=dg.in_process_executor,
    description="Take one song from its uploaded file to the library.",
)
