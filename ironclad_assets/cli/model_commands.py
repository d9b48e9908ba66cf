"""The commands about weights: list, fetch, import, export, verify, remove. What they show is in `model_show`."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ironclad_assets.cli.arguments import AsJson
from ironclad_assets.cli.exits import Exit, MissingFile, door, end
from ironclad_assets.cli.installation import Installation, open_installation
from ironclad_assets.cli.installed_engines import engine_of, engines_of
from ironclad_assets.cli.listener import TerminalListener
from ironclad_assets.cli.model_show import print_weights, weights_document
from ironclad_assets.cli.show import open_console, print_json
from ironclad_assets.contracts.v1.models import CatalogueWeights, Consent, StoredWeights
from ironclad_assets.engine_host.bundle import export_bundle, import_bundle, is_bundle
from ironclad_assets.engine_host.catalogue import Shelf, find_shelf, find_weights, read_catalogue
from ironclad_assets.engine_host.fetching import fetch_weights, read_mirrors, require_consent
from ironclad_assets.engine_host.importing import import_files
from ironclad_assets.engine_host.models import WeightsState, find_state, remove_weights, verify_weights
from ironclad_assets.engine_host.placing import open_shelf
from ironclad_assets.engine_host.registry import InstalledEngine
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.names import printable

Chosen = list[tuple[InstalledEngine, CatalogueWeights]]

EngineName = Annotated[
    str, typer.Argument(help="An engine; see `pipelinectl models list`.", metavar="ENGINE", show_default=False)
]
AnyEngineName = Annotated[
    str | None, typer.Argument(help="An engine; default: all.", metavar="[ENGINE]", show_default=False)
]
ModelNames = Annotated[
    list[str] | None, typer.Argument(help="Models of it; default: all.", metavar="[MODEL...]", show_default=False)
]
AcceptLicence = Annotated[
    bool, typer.Option("--accept-licence", help="Agree to the licences without being asked; who and when is kept.")
]


def list_models(engine: AnyEngineName = None, as_json: AsJson = False) -> None:
    """List the weights that engines can use: how large, under which licence, and whether they are here.

    missing: not here. unverified: here, and changed since it was last hashed, or never pinned. verified: every
    file has the hash that is pinned. damaged: a file is not what it must be.

    \b
    Examples:
      pipelinectl models list
      pipelinectl models list demucs --json
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        chosen = _choose(installation, engine=engine)
        _show(installation, _look(installation, chosen), as_json)


def fetch_models(
    engine: EngineName,
    models: Annotated[
        list[str] | None, typer.Argument(help="Models of it; default: its own default.", metavar="[MODEL...]")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All models of the engine.")] = False,
    mirror: Annotated[
        list[str] | None,
        typer.Option("--mirror", help="Address to try first; has a folder per engine. May be repeated.", metavar="URL"),
    ] = None,
    accept_licence: AcceptLicence = False,
    as_json: AsJson = False,
) -> None:
    """Download weights, check them and pin their hashes. Jobs never download anything.

    An interrupted download goes on where it ended. Proxies come from HTTPS_PROXY and its kin, more mirrors
    from IRONCLAD_MODEL_MIRRORS. A file without a published hash is pinned as it first arrives; a later one
    that differs is refused.

    \b
    Examples:
      pipelinectl models fetch demucs
      pipelinectl models fetch spleeter 2stems 4stems
      pipelinectl models fetch demucs --all --accept-licence --mirror https://mirror.example.org/models
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        mirrors = (*read_mirrors(",".join(mirror or ())), *read_mirrors(installation.settings.model_mirrors))
        default = engine_of(installation.settings, engine).manifest.default_model
        wanted = None if everything else models or [default]
        chosen = _choose(installation, engine=engine, models=wanted)
        for one, weights in chosen:
            shelf = _shelf(installation, one)
            _agree(weights, shelf, installation=installation, accept=accept_licence, ask=not as_json)
        with TerminalListener(quiet=as_json) as listener:
            for one, weights in chosen:
                fetch_weights(
                    one,
                    weights=weights,
                    shelf=_shelf(installation, one),
                    listener=listener,
                    mirrors=mirrors,
                )
        _show(installation, _look(installation, chosen), as_json)


def import_models(
    paths: Annotated[
        list[Path], typer.Argument(help="A bundle; or files and folders with weights.", metavar="PATH...")
    ],
    engine: Annotated[
        str | None, typer.Option(help="Whose weights they are; a bundle says so itself.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Which model's.", show_default=False)] = None,
    accept_licence: AcceptLicence = False,
    as_json: AsJson = False,
) -> None:
    """Take over weights from a bundle, or from files that you have already. Nothing is downloaded.

    Where a hash is published it must be met; else what comes is pinned as it is.

    \b
    Examples:
      pipelinectl models import weights.tar
      pipelinectl models import ~/.cache/torch/hub/checkpoints --engine demucs --model htdemucs
      pipelinectl models import 4stems.tar.gz --engine spleeter --model 4stems --accept-licence
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        for path in paths:
            if not path.exists():
                raise MissingFile(f"there is no {printable(str(path))!r}")

        def agree(weights: CatalogueWeights, shelf: Shelf) -> None:
            _agree(weights, shelf, installation=installation, accept=accept_licence, ask=not as_json)

        stored: list[StoredWeights] = []
        with TerminalListener(quiet=True) as listener:
            if engine is None and model is None:
                for path in paths:
                    if not is_bundle(path):
                        detail = f"{printable(str(path))} is no bundle; say whose weights it has with --engine, --model"
                        raise Refusal(detail, code=ErrorCode.BAD_OPTION)
                    stored += import_bundle(
                        path,
                        engines=engines_of(installation.settings),
                        models_dir=installation.settings.models_dir,
                        agree=agree,
                        listener=listener,
                    )
            else:
                ((one, weights),) = _choose(installation, engine=_required(engine), models=[_required(model)])
                agree(weights, _shelf(installation, one))
                shelf = _shelf(installation, one)
                stored.append(import_files(one, weights=weights, shelf=shelf, sources=paths, listener=listener))
        chosen = [pair for each in stored for pair in _choose(installation, engine=each.engine, models=[each.weights])]
        _show(installation, _look(installation, chosen), as_json)


def export_models(
    path: Annotated[Path, typer.Argument(help="The bundle to write.", metavar="FILE")],
    engine: AnyEngineName = None,
    models: ModelNames = None,
    as_json: AsJson = False,
) -> None:
    """Write weights with their hashes and licences into one file, for a machine without network.

    Without names, everything that is here. The same weights with the same history give the same bytes.

    \b
    Examples:
      pipelinectl models export weights.tar
      pipelinectl models export weights.tar demucs htdemucs
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        chosen = _choose(installation, engine=engine, models=models or None)
        if not models:
            chosen = [one for one in chosen if _shelf(installation, one[0]).record_path(one[1].name).exists()]
        if not chosen:
            raise Refusal("there are no weights here to export", code=ErrorCode.MODEL_MISSING)
        if not path.absolute().parent.is_dir():
            raise MissingFile(f"there is no folder {printable(str(path.absolute().parent))!r}")
        with TerminalListener(quiet=as_json) as listener:
            export_bundle(
                path.absolute(), chosen=chosen, models_dir=installation.settings.models_dir, listener=listener
            )
        size = path.stat().st_size
        if as_json:
            names = [f"{one.manifest.name}/{weights.name}" for one, weights in chosen]
            print_json({"file": str(path.absolute()), "size_bytes": size, "weights": names})
        else:
            print(f"wrote {printable(str(path))}, {size / 1024**2:.1f} MiB, {len(chosen)} sets of weights")


def verify_models(engine: AnyEngineName = None, models: ModelNames = None, as_json: AsJson = False) -> None:
    """Hash the weights that are here again, and compare with what is pinned. Ends with 5 where one differs.

    \b
    Examples:
      pipelinectl models verify
      pipelinectl models verify demucs htdemucs --json
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        found = []
        for one, weights in _choose(installation, engine=engine, models=models or None):
            state = verify_weights(weights, shelf=_shelf(installation, one))
            if models or state.state != "missing":
                found.append((one, weights, state))
        _show(installation, found, as_json)
        end(Exit.OK if all(state.state == "verified" for _, _, state in found) else Exit.UNHEALTHY)


def remove_models(
    engine: EngineName,
    models: Annotated[list[str], typer.Argument(help="Models of it.", metavar="MODEL...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete weights, and with them what was pinned. Files that other weights need stay.

    \b
    Examples:
      pipelinectl models remove demucs htdemucs_ft
      pipelinectl models remove spleeter 2stems 5stems --yes
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        chosen = _choose(installation, engine=engine, models=models)
        listed = ", ".join(weights.name for _, weights in chosen)
        if not yes:
            typer.confirm(f"Delete the weights {listed} of {engine}?", abort=True, err=True)
        removed: list[str] = []
        for one, weights in chosen:
            shelf = _shelf(installation, one)
            with open_shelf(shelf):
                removed += remove_weights(weights, shelf=shelf, others=read_catalogue(one).weights)
        if as_json:
            print_json({"removed": removed})
        else:
            print("\n".join(f"removed {name}" for name in removed) or f"{listed}: nothing is here")


def _choose(installation: Installation, *, engine: str | None, models: Sequence[str] | None = None) -> Chosen:
    """Return the weights of the named models, each once; of all models for None, of all engines for None.

    Raises:
        IroncladError: `UNKNOWN_ENGINE`, `UNKNOWN_MODEL`.
    """
    engines = (
        engines_of(installation.settings).values() if engine is None else [engine_of(installation.settings, engine)]
    )
    chosen: dict[tuple[str, str], tuple[InstalledEngine, CatalogueWeights]] = {}
    for one in engines:
        catalogue = read_catalogue(one).weights
        if models is None:
            chosen |= {(one.manifest.name, weights.name): (one, weights) for weights in catalogue}
            continue
        for model in models:
            if (weights := find_weights(one, model=model)) is not None:
                chosen[one.manifest.name, weights.name] = (one, weights)
            else:
                raise Refusal(f"{one.manifest.name} {model} needs no weights", code=ErrorCode.UNKNOWN_MODEL)
    return list(chosen.values())


def _look(installation: Installation, chosen: Chosen) -> list[tuple[InstalledEngine, CatalogueWeights, WeightsState]]:
    """Return how each of the chosen weights is."""
    return [(engine, weights, find_state(weights, shelf=_shelf(installation, engine))) for engine, weights in chosen]


def _shelf(installation: Installation, engine: InstalledEngine) -> Shelf:
    return find_shelf(engine, models_dir=installation.settings.models_dir)


def _required(name: str | None) -> str:
    if name is None:
        raise Refusal("--engine and --model belong together", code=ErrorCode.BAD_OPTION)
    return name


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _agree(weights: CatalogueWeights, shelf: Shelf, *, installation: Installation, accept: bool, ask: bool) -> None:
    """Have the operator agree to the licence if that is needed and has not been done, and keep that.

    Raises:
        IroncladError: `MODEL_LICENCE`: there is nobody to ask, or they do not agree.
    """
    if shelf.has_consent(weights):
        return
    if not accept and ask and _somebody_is_there():
        where = f"\n  {weights.licence_url}" if weights.licence_url else ""
        print(f"{shelf.engine} {weights.name}: {weights.licence}{where}\n  {weights.source}", file=sys.stderr)
        accept = typer.confirm("Do you agree?", err=True)
    if not accept:
        require_consent(weights, shelf=shelf)
        return
    shelf.add_consent(
        Consent(
            licence=weights.licence,
            licence_url=weights.licence_url,
            weights=weights.name,
            by=installation.actor,
            at=datetime.now(UTC),
        )
    )


def _show(
    installation: Installation, found: list[tuple[InstalledEngine, CatalogueWeights, WeightsState]], as_json: bool
) -> None:
    if as_json:
        documents = [
            weights_document(engine, weights=weights, shelf=_shelf(installation, engine), state=state)
            for engine, weights, state in found
        ]
        print_json({"weights": documents})
    else:
        shown = [(engine, weights, _shelf(installation, engine), state) for engine, weights, state in found]
        print_weights(open_console(), shown)
