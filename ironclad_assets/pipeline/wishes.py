"""What a song in the library would be delivered as with other options, for a preview: paths only, no bytes.

Jobs decide the same in `pipeline/track_plan.py` from the stems there are; here a name suffices.
"""

from dataclasses import replace
from functools import cache

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.contracts.v1.options import ALL_STEMS, JobOptions
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import PermanentFailure
from ironclad_assets.pipeline.filed import FiledEntry, song_deliveries
from ironclad_assets.pipeline.naming import track_path
from ironclad_assets.pipeline.organise import ORIGINAL, name_file, original_extension, root_of
from ironclad_assets.pipeline.shelf import Delivery, Role
from ironclad_assets.pipeline.templates import Layout
from ironclad_assets.pipeline.track_plan import RESIDUAL
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.store import Store

_NOT_MADE = FileRecord(path="not-made-yet", size_bytes=0, sha256="0" * 64)


def wished_deliveries(one: FiledEntry, *, wish: JobOptions, layout: Layout, store: Store) -> list[Delivery]:
    """Return every song file that a retry with the options named in `wish` would leave, with its path.

    What is there already keeps its record; what would be made anew has none, and can only be shown.
    """
    present = song_deliveries(one, layout=layout)
    named = wish.named()
    kept = [item for item in present if _stays(item, wish=wish)]
    known = {(item.role, item.name) for item in present}
    wanted: list[tuple[Role, str]] = []
    if "targets" in named:
        wanted += [("target", name) for name in wish.targets]
    if "stems" in named and wish.stems is not None and wish.stems != ALL_STEMS:
        wanted += [("stem", name) for name in wish.stems]
    if wish.original:
        wanted.append((ORIGINAL, ORIGINAL))
    new = [pair for pair in wanted if pair not in known]
    found = [
        _new_delivery(
            role, name, extension=_extension(role, one=one, wish=wish, store=store), one=one, layout=layout, store=store
        )
        for role, name in new
    ]
    if "format" not in named:
        return [*kept, *found]
    changed = [_in_format(item, one=one, wish=wish, layout=layout, store=store) for item in kept]
    return [*changed, *found]


def _stays(item: Delivery, *, wish: JobOptions) -> bool:
    named = wish.named()
    if item.role == "target" and "targets" in named:
        return item.name in wish.targets
    if item.role == "stem" and "stems" in named and wish.stems is not None and wish.stems != ALL_STEMS:
        return item.name == RESIDUAL or item.name in wish.stems
    return item.role != ORIGINAL or named.get("original") is not False


def _in_format(item: Delivery, *, one: FiledEntry, wish: JobOptions, layout: Layout, store: Store) -> Delivery:
    if item.role not in ("target", "stem"):
        return item
    new = _new_delivery(item.role, item.name, extension=wish.format.value, one=one, layout=layout, store=store)
    return replace(item, path=new.path)


def _extension(role: Role, *, one: FiledEntry, wish: JobOptions, store: Store) -> str:
    if role != ORIGINAL:
        present = next((item.file.path for item in one.entry.files if item.role == "target"), ".flac")
        return wish.format.value if "format" in wish.named() else present.rpartition(".")[2]
    try:
        validated = ValidatedFile.model_validate(read_manifest(store.stage("validated_file", one.song)).payload)
    except PermanentFailure:
        return "audio"
    return original_extension(validated.original_name, container=validated.container)


def _new_delivery(role: Role, name: str, *, extension: str, one: FiledEntry, layout: Layout, store: Store) -> Delivery:
    named = name_file(one.metadata, role=role, name=name, stems=tuple(name.split("+")), extension=extension)
    template = layout.template(root_of(role))
    return Delivery(
        role=role,
        name=name,
        root=root_of(role),
        record=_NOT_MADE,
        path=cache(lambda copy: track_path(named, copy=copy, template=template)),
        source=store.root / _NOT_MADE.path,
    )
