"""How a stage's asset is declared: what all stages have in common, in one typed decorator.

Partition, group, owner, kinds, code version and checks are said here; what a stage does when it runs is in
its own module and in `room`.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from ironclad_assets.io_managers.contract_io_manager import Product
from ironclad_assets.partitions import songs

if TYPE_CHECKING:
    StageResult = dg.MaterializeResult[Product]
else:
    StageResult = dg.MaterializeResult  # Dagster reads annotations and knows only the bare class


def stage_asset(
    stage: str,
    *,
    room: str,
    code_version: str,
    kinds: set[str],
    checks: Mapping[str, str],
    advisory: frozenset[str] = frozenset(),
    deps: Sequence[str] = (),
    pool: str | None = None,
) -> Callable[[Callable[..., StageResult]], dg.AssetsDefinition]:
    """Return the decorator of a stage's asset: partition, group, owner, kinds, code version, checks.

    Args:
        stage: name of the asset.
        room: its group.
        code_version: raise it when the same input makes another payload.
        kinds: what the stage deals with, as the UI shows it.
        checks: what each check says, by its name.
        advisory: checks that warn; all others block what comes after.
        deps: assets that come before without being read.
        pool: limits how many songs are in this stage at once.
    """
    every = {"contract_valid": "The output meets its versioned contract.", **checks}
    return dg.asset(
        name=stage,
        partitions_def=songs,
        group_name=room,
        owners=["team:ironclad"],
        kinds=kinds,
        code_version=code_version,
        dagster_type=dg.Any,  # a Product; the annotation alone would mean "nothing to store"
        deps=deps,
        pool=pool,
        check_specs=[
            _check_spec(name, stage=stage, text=text, blocking=name not in advisory) for name, text in every.items()
        ],
    )


def _check_spec(name: str, *, stage: str, text: str, blocking: bool) -> dg.AssetCheckSpec:
    with warnings.catch_warnings():
        # Checks by partition are in preview; without them the last song's result would overwrite the badge.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(name, asset=stage, description=text, blocking=blocking, partitions_def=songs)
