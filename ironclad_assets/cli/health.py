"""Is everything well? One answer per part, each with what to do about it.

Looks only: nothing is created, mended or started, and a part that cannot be asked counts as not well.
"""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ironclad_assets.antivirus.health import describe_scanner
from ironclad_assets.cli.installation import Installation
from ironclad_assets.cli.installed_engines import check_ready, engines_of
from ironclad_assets.cli.show import duration
from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.engine_host import readiness
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.ledger.worker import identify_process
from ironclad_assets.lookup.health import source_health
from ironclad_assets.lookup.policy import state_path
from ironclad_assets.sandbox.report import FILE_LAYER, NETWORK_LAYER, describe_cage
from ironclad_assets.servers.configured import configured_servers
from ironclad_assets.servers.notes import last_entry, read_states
from ironclad_assets.supervisor.ports import answers
from ironclad_assets.supervisor.services import WARM_SERVICE, socket_answers

WATCHER_LATE_S = 60.0
"""Age at which the watcher's last tick means that it stopped."""

UNATTENDED_S = 120.0
"""Seconds for which runs are asked for, and none begins, after which there is nobody to work."""

PROCESSES = ("supervisor", "code-server", "daemon", "webserver")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one part."""

    part: str
    well: bool
    detail: str
    remedy: str = ""


def examine(installation: Installation) -> list[Finding]:
    """Return a finding for each part, from the store and the media servers to the processes."""
    findings = [
        _ask("store", lambda: _store(installation)),
        _ask("disk", lambda: _disk(installation)),
        _ask("ledger", lambda: _ledger(installation)),
        _ask("queue", lambda: _queue(installation)),
        _ask("pauses", lambda: _pauses(installation)),
        _ask("engines", lambda: _engines(installation)),
        _ask("cage", _cage),
        _ask("antivirus", lambda: describe_scanner(installation.settings)),
    ]
    live = installation.ledger.live
    if live.configured:
        findings.append(_ask("redis", live.describe))
    return [
        *findings,
        *_sources(installation),
        *_servers(installation),
        *_processes(installation),
        _watcher(installation),
    ]


def _ask(part: str, question: Callable[[], str]) -> Finding:
    try:
        return Finding(part, well=True, detail=question())
    except IroncladError as error:
        return Finding(part, well=False, detail=error.detail, remedy=error.code.facts.remedy)
    except OSError as error:
        return Finding(part, well=False, detail=str(error), remedy="see that the folder is there and readable")


def _store(installation: Installation) -> str:
    installation.store.require_ready()
    return str(installation.store.root)


def _disk(installation: Installation) -> str:
    usage = shutil.disk_usage(installation.store.root)
    return f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB free"


def _ledger(installation: Installation) -> str:
    installation.ledger.check_schema()
    return "schema is current"


def _queue(installation: Installation) -> str:
    """Count the jobs of each state.

    Raises:
        TransientFailure: with `NO_WORKER`, where they wait for a worker and nobody works.
    """
    counts = installation.ledger.count_by_state()
    said = ", ".join(f"{counts[state]} {state}" for state in JobState)
    waited_s = installation.ledger.queue.unattended_s()
    if waited_s > UNATTENDED_S:
        raise failure(ErrorCode.NO_WORKER, f"{said}; for {duration(waited_s)} no worker has begun any of those queued")
    return said


def _pauses(installation: Installation) -> str:
    """Name what an operator paused: a warning, so that nobody forgets it."""
    found = [pause.describe() for pause in installation.ledger.pauses.all()]
    return f"warning: paused: {'; '.join(found)}" if found else "nothing is paused"


def _engines(installation: Installation) -> str:
    """Look whether jobs that name no engine could start; of the others say how many are there."""
    engines = engines_of(installation.settings)
    settings = installation.settings
    check_ready(settings, engine=settings.default_engine, model=settings.default_model)
    ready = [name for name, engine in engines.items() if _is_ready(engine, models_dir=settings.models_dir)]
    return f"the default engine {settings.default_engine} is ready; ready with their default models: {', '.join(ready)}"


def _is_ready(engine: InstalledEngine, *, models_dir: Path) -> bool:
    try:
        readiness.check_ready(engine, model=None, models_dir=models_dir)
    except IroncladError:
        return False
    return True


def _cage() -> str:
    """Name the layers around untrusted files; what the kernel does not offer is a warning, not an outage."""
    layers = describe_cage()
    isolation = {NETWORK_LAYER: "reach the network", FILE_LAYER: "read other files"}
    missing = [what for layer, what in isolation.items() if layer not in layers]
    warning = f"warning: code hidden in a song could {' and '.join(missing)}; " if missing else ""
    return f"{warning}untrusted files are decoded under {', '.join(layers)}"


def _sources(installation: Installation) -> list[Finding]:
    """Name each source of metadata; one that does not answer is a warning, because songs complete without it."""
    try:
        sources = source_health(installation.settings)
    except sqlite3.Error as error:
        path = state_path(installation.settings)
        return [Finding("lookups", well=False, detail=f"{path}: {error}", remedy=f"remove {path}; it is a cache")]
    troubled = ("failing", "resting")
    return [
        Finding(one.source, well=True, detail=f"warning: {one.detail}" if one.standing in troubled else one.detail)
        for one in sources
    ]


def _servers(installation: Installation) -> list[Finding]:
    """Say of each configured media server what came of the last request; a server that is away is a warning."""
    configured = configured_servers(installation.settings)
    states = read_states(installation.settings)
    entry = last_entry(installation.settings)
    findings = [
        Finding(name, well=False, detail=f"{variable} is not set", remedy=f"set {variable}, or unset the address")
        for name, variable in configured.incomplete
    ]
    for server in configured.servers:
        state = states.get(server.name)
        if state is None or state.url != server.url:
            waits = "an entry waits to be told" if entry else "no entry landed yet"
            findings.append(Finding(server.name, well=True, detail=f"{server.url} was not asked yet; {waits}"))
            continue
        warning = "warning: " if state.failures else ""
        times = f", {state.failures} times in a row; it is asked again" if state.failures else ""
        said = f"{warning}{server.url} {state.said}{times} (last at {state.at})"
        findings.append(Finding(server.name, well=True, detail=said))
    return findings


def _processes(installation: Installation) -> list[Finding]:
    remedy = "start the system with `pipelinectl up`"
    try:
        known: dict[str, dict[str, Any]] = json.loads(installation.processes_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [Finding("processes", well=False, detail="the system is not running", remedy=remedy)]
    except (OSError, ValueError) as error:
        return [Finding("processes", well=False, detail=f"{installation.processes_file}: {error}", remedy=remedy)]
    settings = installation.settings
    names = (*PROCESSES, WARM_SERVICE) if settings.executor == "warm" else PROCESSES
    hosts = {"webserver": settings.host}
    return [_process(name, known.get(name), host=hosts.get(name, "127.0.0.1"), remedy=remedy) for name in names]


def _process(name: str, known: dict[str, Any] | None, *, host: str, remedy: str) -> Finding:
    if known is None:
        return Finding(name, well=False, detail="is not running", remedy=remedy)
    pid, port = int(known["pid"]), known.get("port")
    try:
        identify_process(pid)
    except ProcessLookupError:
        return Finding(name, well=False, detail=f"process {pid} is gone", remedy=remedy)
    if port is not None and not answers(int(port), host=host):
        return Finding(name, well=False, detail=f"process {pid} does not answer on port {port}", remedy="see its log")
    path = known.get("socket")
    if path is not None and not socket_answers(Path(path)):
        return Finding(name, well=False, detail=f"process {pid} does not answer at {path}", remedy="see its log")
    return Finding(name, well=True, detail=f"process {pid}" + (f", port {port}" if port is not None else ""))


def _watcher(installation: Installation) -> Finding:
    try:
        tick: dict[str, Any] = json.loads(installation.watcher_file.read_text(encoding="utf-8"))
        age_s = (datetime.now(UTC) - datetime.fromisoformat(tick["at"])).total_seconds()
    except FileNotFoundError:
        return Finding("watcher", well=False, detail="never looked", remedy="start the system with `pipelinectl up`")
    except (OSError, ValueError, KeyError) as error:
        return Finding(
            "watcher", well=False, detail=f"{installation.watcher_file}: {error}", remedy="restart the system"
        )
    said = f"looked {age_s:.0f} s ago: {tick.get('summary', 'nothing said')}"
    if age_s > WATCHER_LATE_S:
        return Finding("watcher", well=False, detail=said, remedy="see the daemon's log")
    if tick.get("paused"):
        return Finding("watcher", well=False, detail=said, remedy="work goes on by itself once that is mended")
    return Finding("watcher", well=True, detail=said)
