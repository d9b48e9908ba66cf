"""Which tracks a song is delivered as, and of which stems each is mixed. Pure decisions; nothing is rendered here."""

from dataclasses import dataclass
from typing import Literal

from ironclad_assets.contracts.v1.options import ALL_STEMS, INSTRUMENTAL, JobOptions
from ironclad_assets.contracts.v1.recombined_track import DJ_STEMS, DJ_STEMS_EXTENSION
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.pipeline.variants import VOCALS, is_vocal

MIXTURE = "_mixture"
"""Name of the mixture among the inputs of a track; no stem can have it."""

RESIDUAL = "residual"
"""Name of what the mixture holds beyond the sum of all stems, delivered beside the stems."""

_DRUMS, _BASS = "drums", "bass"


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One of several streams of audio in a file: the inputs to add minus the inputs to subtract."""

    add: tuple[str, ...]
    subtract: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrackPlan:
    """One track to render: the inputs to add minus the inputs to subtract.

    `stems` are those it consists of: none for the residual. A file for DJ programs has several `streams`, of
    which the first is what `add` and `subtract` say.
    """

    name: str
    kind: Literal["target", "stem", "dj_stems"]
    stems: tuple[str, ...]
    add: tuple[str, ...]
    subtract: tuple[str, ...]
    path: str
    streams: tuple[StreamPlan, ...] = ()

    @property
    def method(self) -> Literal["sum", "subtract"]:
        return "subtract" if MIXTURE in self.add else "sum"


def plan_tracks(stems: tuple[str, ...], *, options: JobOptions) -> tuple[TrackPlan, ...]:
    """Return targets in the order asked for, stems in the engine's, the residual, and the file for DJ programs.

    The instrumental is the mixture minus the vocals: it keeps what no stem holds, such as everything above an
    engine's band. Other targets are sums, because what they leave out may be most of the song. The residual is
    the mixture minus all stems there are, whichever are delivered.

    Args:
        stems: names of the stems there are.
        options: targets, stems, residual, file for DJ programs and format asked for.

    Raises:
        Refusal: `UNKNOWN_TARGET`, where the stems do not hold what a target needs, or one asked for is not there.
    """
    extension = options.format.value
    targets = [_plan_target(target, stems=stems, extension=extension) for target in options.targets]
    singles = [
        TrackPlan(name=stem, kind="stem", stems=(stem,), add=(stem,), subtract=(), path=f"stems/{stem}.{extension}")
        for stem in _chosen_stems(stems, wanted=options.stems)
    ]
    rest = [_plan_residual(stems, extension=extension)] if options.residual else []
    dj_stems = [_plan_dj_stems(stems)] if options.dj_stems else []
    return (*targets, *singles, *rest, *dj_stems)


def missing_for_dj_stems(stems: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of drums, bass and vocals are not among `stems`: the file for DJ programs needs all three."""
    there = {_DRUMS: _DRUMS in stems, _BASS: _BASS in stems, VOCALS: any(map(is_vocal, stems))}
    return tuple(name for name, found in there.items() if not found)


def _plan_dj_stems(stems: tuple[str, ...]) -> TrackPlan:
    """Plan mixture, drums, bass, other and vocals, whatever else the engine makes.

    Other is the mixture minus the three: so it has what the engine's other stems hold (piano, guitar) and what no
    stem holds, and the four together are the mixture, as a DJ with all faders up expects.
    """
    missing = missing_for_dj_stems(stems)
    if missing:
        raise Refusal(
            f"the file for DJ programs needs {', '.join(missing)}; the engine makes {', '.join(stems)}",
            code=ErrorCode.UNKNOWN_TARGET,
        )
    vocals = tuple(filter(is_vocal, stems))
    return TrackPlan(
        name=DJ_STEMS,
        kind="dj_stems",
        stems=stems,
        add=(MIXTURE,),
        subtract=(),
        path=f"stems/{DJ_STEMS}.{DJ_STEMS_EXTENSION}",
        streams=(
            StreamPlan(add=(MIXTURE,)),
            StreamPlan(add=(_DRUMS,)),
            StreamPlan(add=(_BASS,)),
            StreamPlan(add=(MIXTURE,), subtract=(_DRUMS, _BASS, *vocals)),
            StreamPlan(add=vocals),
        ),
    )


def _chosen_stems(stems: tuple[str, ...], *, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    if wanted is None or wanted == ALL_STEMS:
        return stems
    missing = [stem for stem in wanted if stem not in stems]
    if missing:
        raise Refusal(
            f"there is no stem {', '.join(missing)}; the engine makes {', '.join(stems)}",
            code=ErrorCode.UNKNOWN_TARGET,
        )
    return tuple(stem for stem in stems if stem in wanted)


def _plan_residual(stems: tuple[str, ...], *, extension: str) -> TrackPlan:
    if RESIDUAL in stems:
        raise Refusal(f"the engine makes a stem of its own called {RESIDUAL}", code=ErrorCode.UNKNOWN_TARGET)
    path = f"stems/{RESIDUAL}.{extension}"
    return TrackPlan(name=RESIDUAL, kind="stem", stems=(), add=(MIXTURE,), subtract=stems, path=path)


def _plan_target(target: str, *, stems: tuple[str, ...], extension: str) -> TrackPlan:
    path = f"targets/{target}.{extension}"
    vocals = tuple(stem for stem in stems if is_vocal(stem))
    if target == INSTRUMENTAL and vocals:
        rest = tuple(stem for stem in stems if stem not in vocals)
        return TrackPlan(name=target, kind="target", stems=rest, add=(MIXTURE,), subtract=vocals, path=path)
    wanted = tuple(target.split("+"))
    missing = [stem for stem in wanted if stem not in stems]
    if missing:
        needed = "vocals, to take them away" if target == INSTRUMENTAL else ", ".join(missing)
        raise Refusal(
            f"{target!r} needs {needed}; the engine made {', '.join(stems)}; choose among these, joined by +",
            code=ErrorCode.UNKNOWN_TARGET,
        )
    return TrackPlan(name=target, kind="target", stems=wanted, add=wanted, subtract=(), path=path)
