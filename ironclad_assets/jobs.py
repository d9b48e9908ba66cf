"""The jobs that operators launch and the dispatcher requests."""

import dagster as dg

from ironclad_assets.contracts.v1.job import STAGES

process_song = dg.define_asset_job(
    "process_song",
    selection=dg.AssetSelection.assets(*STAGES),
    executor_def=dg.in_process_executor,
    description="Take one song from its uploaded file to the library.",
)

analyse_song = dg.define_asset_job(
    "analyse_song",
    selection=dg.AssetSelection.assets("song_analysis"),
    executor_def=dg.in_process_executor,
    description="Find tempo, key and loudness of a song that is complete.",
)
