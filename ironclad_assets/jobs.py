"""The jobs that operators launch and the dispatcher requests."""

from typing import Any

import dagster as dg

from ironclad_assets.contracts.v1.job import STAGES

WARNINGS_ALONE: dict[str, Any] = {"loggers": {"console": {}}}
"""Run config for the graph's own logger, which writes warnings; Dagster's would write every event to the log."""

process_song = dg.define_asset_job(
    "process_song",
    selection=dg.AssetSelection.assets(*STAGES),
    executor_def=dg.in_process_executor,
    config=WARNINGS_ALONE,
    description="Take one song from its uploaded file to the library.",
)

analyse_song = dg.define_asset_job(
    "analyse_song",
    selection=dg.AssetSelection.assets("song_analysis"),
    executor_def=dg.in_process_executor,
    config=WARNINGS_ALONE,
    description="Find tempo, key and loudness of a song that is complete.",
)
