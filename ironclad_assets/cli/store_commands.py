"""The commands about where the store lasts: what is set, moving into a bucket, and letting local copies go."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from ironclad_assets.cli.arguments import AsJson
from ironclad_assets.cli.exits import door
from ironclad_assets.cli.installation import Installation, open_installation
from ironclad_assets.cli.show import print_json
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.storage.housekeeping import measure_copies, publish_everything
from ironclad_assets.upkeep.copies import evict_copies

_GIGABYTE = 1e9

Limit = Annotated[
    float | None,
    typer.Option(
        "--limit-gb",
        min=0,
        help="Gigabytes that copies may take; default: IRONCLAD_OBJECT_STORE_CACHE_BYTES.",
        show_default=False,
    ),
]


def show_store(as_json: AsJson = False) -> None:
    """Say where the store is, where it lasts, whether it is ready, and what its local copies take.

    \b
    Examples:
      pipelinectl store show
      pipelinectl store show --json
    """
    with door(as_json=as_json):
        installation = open_installation(require_ledger=False)
        store = installation.store
        store.require_ready()
        lasts = str(store.root) if store.mirror is None else store.mirror.name
        taken = measure_copies(store)
        if as_json:
            print_json({"root": str(store.root), "lasts_in": lasts, "ready": True, "copies_bytes": taken})
        else:
            Console().print(
                f"root      {store.root}\nlasts in  {lasts}\nready     yes", highlight=False, soft_wrap=True
            )
            Console().print(f"copies    {taken / _GIGABYTE:.2f} GB", highlight=False)


def publish_store(as_json: AsJson = False) -> None:
    """Put everything into the bucket that is only here, such as after switching from a folder to a bucket.

    What is damaged is left out and named; what is there already is not sent again. Work may go on meanwhile.

    \b
    Examples:
      pipelinectl store publish
      pipelinectl store publish --json
    """
    with door(as_json=as_json):
        installation = _open_with_bucket()
        with Console(stderr=True).status("putting what is only here into the bucket"):
            done = publish_everything(installation.store)
        if as_json:
            print_json(asdict(done))
            return
        Console().print(f"{done.originals} originals, {done.artifacts} artifacts, {done.files} other files put there")
        for path in done.refused:
            Console().print(f"damaged, left out: {path}", highlight=False, soft_wrap=True)


def evict_store(limit_gb: Limit = None, as_json: AsJson = False) -> None:
    """Remove local copies that the bucket has, those not used for longest first, until they take no more than that.

    What an active job needs stays, and so does what the bucket does not confirm byte by byte of size and checksum.
    Whatever is needed later is fetched again.

    \b
    Examples:
      pipelinectl store evict --limit-gb 50
      pipelinectl store evict --limit-gb 0 --json
    """
    with door(as_json=as_json):
        installation = _open_with_bucket()
        limit = installation.settings.object_store_cache_bytes if limit_gb is None else int(limit_gb * _GIGABYTE)
        if limit is None:
            raise Refusal("no limit is set; name one with --limit-gb", code=ErrorCode.BAD_OPTION)
        with Console(stderr=True).status("letting local copies go"):
            done = evict_copies(installation.store, ledger=installation.ledger, limit_bytes=limit)
        if as_json:
            print_json(asdict(done))
        else:
            freed, kept = done.freed_bytes / _GIGABYTE, done.kept_bytes / _GIGABYTE
            Console().print(f"{done.copies} copies removed, {freed:.2f} GB freed, {kept:.2f} GB kept", highlight=False)


def _open_with_bucket() -> Installation:
    installation = open_installation()
    if installation.store.mirror is None:
        detail = "the store lasts in its own folder; set IRONCLAD_OBJECT_STORE_URL to a bucket first"
        raise Refusal(detail, code=ErrorCode.BAD_OPTION)
    installation.store.require_present()
    return installation
