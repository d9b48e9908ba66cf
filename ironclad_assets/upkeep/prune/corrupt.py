"""Artifacts that `verify` found damaged, looked at once more: those that still are go to ``orphaned/``.

Only what a retry makes again is moved. An original that is damaged is mended by uploading the file again, a file of
the library by a retry, so both stay where they are.
"""

from collections.abc import Iterator

from ironclad_assets.upkeep.findings import Finding, last_findings
from ironclad_assets.upkeep.prune.plan import Ground, How, Kind, Removal, weigh
from ironclad_assets.upkeep.verify.song import STAGE_CODES, check_stage


def corrupt(ground: Ground, *, user_id: str | None) -> Iterator[Iterator[Removal]]:
    """Yield, one by one, the damaged artifacts of songs that nobody works on."""
    seen: set[tuple[str, str]] = set()
    for finding in last_findings(ground.settings):
        top, stage, song, *_ = (*finding.path.split("/"), "", "")
        if finding.code not in STAGE_CODES or top != "stages" or not song or (stage, song) in seen:
            continue
        seen.add((stage, song))
        yield _damaged(finding, stage=stage, song=song, ground=ground, user_id=user_id)


def _damaged(finding: Finding, *, stage: str, song: str, ground: Ground, user_id: str | None) -> Iterator[Removal]:
    """Yield the artifact that a finding is about, if it still is damaged: a stranger beside it is no reason."""
    one = ground.ledger.sweeps.find([song]).get(song)
    if one is None or one.state.active or user_id not in (None, one.user_id):
        return
    if not any(now.code in STAGE_CODES for now in check_stage(ground.store, stage=stage, song=song)):
        return  # mended since
    path = f"stages/{stage}/{song}"
    weight = weigh(ground.store.root / path)
    if weight is not None:
        yield Removal(
            Kind.CORRUPT, How.MOVE, path, f"damaged: {finding.code}",
            weight.size_bytes, weight.files, weight.inode, weight.changed_ns,
            song=song, user_id=one.user_id, holders=(song,),
        )  # fmt: skip
