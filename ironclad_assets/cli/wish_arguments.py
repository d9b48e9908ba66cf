"""The options with which a song is wished for, each spelled and explained once, and how they are read."""

from collections.abc import Iterable
from typing import Annotated

import typer

from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat
from ironclad_assets.contracts.v1.options import ALL_STEMS, JobOptions, Preset
from ironclad_assets.intake.options import make_options, parse_parameters

Engine = Annotated[str | None, typer.Option(help="Engine; see `pipelinectl engines list`.", show_default=False)]
Model = Annotated[str | None, typer.Option(help="Model of the engine.", show_default=False)]
Targets = Annotated[
    str | None,
    typer.Option(
        help="What to make, separated by commas: instrumental, a stem, or stems joined by +.",
        metavar="TARGET,...",
        show_default=False,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(help=f"File format: {', '.join(OutputFormat)}.", metavar="FORMAT", show_default=False),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help=f"Between speed and quality: {', '.join(Preset)}, where the engine has it.",
        metavar="PRESET",
        show_default=False,
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        help="A parameter of the engine, such as overlap=0.25; give it again for more. NAME= takes it back.",
        metavar="NAME=VALUE",
        show_default=False,
    ),
]
StemNames = Annotated[
    list[str] | None,
    typer.Option(
        "--stem",
        help="A stem to deliver as a file of its own; give it again for more. Or all (as without it), or none.",
        metavar="STEM",
        show_default=False,
    ),
]
Residual = Annotated[
    bool | None,
    typer.Option(
        "--residual/--no-residual",
        help="Also deliver what the song holds beyond the sum of its stems.",
        show_default=False,
    ),
]
Original = Annotated[
    bool | None,
    typer.Option(
        "--original/--no-original",
        help="Also file the untouched original in the library.",
        show_default=False,
    ),
]
DjStems = Annotated[
    bool | None,
    typer.Option(
        "--dj-stems/--no-dj-stems",
        help="Also deliver one .stem.mp4 for DJ programs: the song, drums, bass, everything else, vocals.",
        show_default=False,
    ),
]
SampleFormatName = Annotated[
    str | None,
    typer.Option(
        "--sample-format",
        help=f"How FLAC and WAV store a sample: {', '.join(SampleFormat)} (float32 in WAV alone); default: the song's.",
        metavar="FORMAT",
        show_default=False,
    ),
]
Bitrate = Annotated[
    int | None,
    typer.Option("--bitrate", help="Bit rate of MP3, M4A and Opus in kbit/s.", metavar="KBPS", show_default=False),
]
AllowSmallerModel = Annotated[
    bool | None,
    typer.Option(
        "--allow-smaller-model/--no-smaller-model",
        help="Whether a smaller model may take over where memory does not suffice.",
        show_default=False,
    ),
]


def split_targets(text: str | None) -> tuple[str, ...] | None:
    """Return the targets in a list with commas."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def read_options(
    *,
    engine: str | None,
    model: str | None,
    preset: str | None,
    parameters: Iterable[str] | None,
    targets: str | None,
    stems: list[str] | None,
    residual: bool | None,
    original: bool | None,
    dj_stems: bool | None,
    format: str | None,
    sample_format: str | None,
    bitrate: int | None,
    allow_smaller_model: bool | None,
) -> JobOptions:
    """Return the options that were typed; what was not is left to the defaults.

    Raises:
        Refusal: one of them cannot be what it says.
    """
    return make_options(
        engine=engine,
        model=model,
        preset=preset,
        parameters=parse_parameters(parameters) if parameters else None,
        targets=split_targets(targets),
        stems=_read_stems(stems) if stems else None,
        residual=residual,
        original=original,
        dj_stems=dj_stems,
        format=format,
        sample_format=sample_format,
        bitrate_kbps=bitrate,
        allow_smaller_model=allow_smaller_model,
    )


def _read_stems(stems: list[str]) -> tuple[str, ...]:
    if stems == ["none"]:
        return ()
    return ALL_STEMS if stems == list(ALL_STEMS) else tuple(stems)
