"""The front door of the graph: every asset, sensor, job and resource in one `Definitions`.

Building touches no file and no database; what a resource needs it opens at first use, in the process that
uses it. Tests and deployments pass their own resources to `build_definitions`.
"""

from typing import Any

import dagster as dg

from ironclad_assets.assets.library_entry import library_entry
from ironclad_assets.assets.recombined_track import recombined_track
from ironclad_assets.assets.song_analysis import song_analysis
from ironclad_assets.assets.song_metadata import song_metadata
from ironclad_assets.assets.staged_chunks import staged_chunks
from ironclad_assets.assets.stems import stems
from ironclad_assets.assets.validated_file import validated_file
from ironclad_assets.io_managers.contract_io_manager import ContractIOManager
from ironclad_assets.jobs import analyse_song, process_song
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.templates import layout_of
from ironclad_assets.resources.engines import Engines
from ironclad_assets.sensors.analysis import AnalysisRequests, build_analysis_requests
from ironclad_assets.sensors.backup import back_up, build_backup_schedules
from ironclad_assets.sensors.copies import build_copy_schedules
from ironclad_assets.sensors.erase import EraserService, build_eraser
from ironclad_assets.sensors.reconcile import build_crash_catcher
from ironclad_assets.sensors.refresh import build_server_refresher
from ironclad_assets.sensors.upkeep import build_upkeep_schedules, prune_store, verify_store
from ironclad_assets.sensors.upload_watcher import UploadWatcher, build_upload_watcher
from ironclad_assets.servers.configured import configured_servers
from ironclad_assets.servers.refresher import Refresher
from ironclad_assets.settings import Settings, load_settings
from ironclad_assets.storage.opening import open_store

ASSETS = (validated_file, song_metadata, staged_chunks, stems, recombined_track, library_entry, song_analysis)


def build_definitions(settings: Settings | None = None, **overrides: object) -> dg.Definitions:
    """Return the whole graph over one installation.

    Args:
        settings: the installation's settings; by default those of the environment.
        **overrides: resources to use instead of the built ones, by their key.
    """
    settings = settings or load_settings()
    layout_of(settings)  # refuses a template now, not at the first song
    store = open_store(settings)
    ledger = Ledger(settings.ledger_url, rules=Rules.from_settings(settings))
    resources: dict[str, Any] = {  # resources are plain objects of many types
        "settings": settings,
        "store": store,
        "ledger": ledger,
        "engines": Engines(settings),
        "io_manager": ContractIOManager(store=store, ledger=ledger),
        **overrides,
    }
    watcher = UploadWatcher(ledger=resources["ledger"], store=resources["store"], settings=settings)
    requests = AnalysisRequests(ledger=resources["ledger"], store=resources["store"], settings=settings)
    return dg.Definitions(
        assets=ASSETS,
        jobs=[process_song, analyse_song, back_up, prune_store, verify_store],
        schedules=[
            *build_backup_schedules(settings),
            *build_upkeep_schedules(settings),
            *build_copy_schedules(settings),
        ],
        sensors=[
            build_upload_watcher(watcher),
            build_crash_catcher(ledger=resources["ledger"], store=resources["store"]),
            build_analysis_requests(requests),
            build_eraser(EraserService(ledger=resources["ledger"], settings=settings)),
            *([build_server_refresher(Refresher(settings))] if configured_servers(settings).servers else []),
        ],
        resources=resources,
        executor=dg.in_process_executor,
        # A run's events are in its event log; its process writes only what went wrong to the code server's log.
        loggers={"console": dg.colored_console_logger.configured({"log_level": "WARNING"})},
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Return the graph of this process's environment; Dagster calls this when it loads the module."""
    return build_definitions()
