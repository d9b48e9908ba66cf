"""Prints what the judges say, side by side with the contract: the evidence in docs/judges.md.

``python -m tests.judges.report`` takes one song through the graph in every format and the album of `album` once, asks
every judge, and writes Markdown to standard output; with a file, between its two marks. What the judges must say is
decided in the tests, not here.
"""

import argparse
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tests import synth
from tests.judges.album import SONGS, Fields
from tests.judges.beets_library import BeetsLibrary
from tests.judges.delivery import Delivered, Library, deliver
from tests.judges.mpd_server import FIELDS, MpdClient, running_mpd
from tests.judges.programs import PACKAGES
from tests.judges.readers import JUDGES
from tests.judges.soundness import COMPLAIN, CUT_AT, OWN_DECODERS, WATCHERS, decode_ffmpeg

BEGIN, END = "<!-- begin: python -m tests.judges.report -->", "<!-- end -->"
FORMATS = tuple(WATCHERS)
SAME, UNSEEN = "=", ""


def main(arguments: list[str]) -> None:
    """Print the report, or write it between the marks of a document."""
    parser = argparse.ArgumentParser(prog="python -m tests.judges.report", description=__doc__)
    parser.add_argument("document", nargs="?", type=Path, help="write the report between the marks of this file")
    options = parser.parse_args(arguments)
    missing = [program for program in PACKAGES if shutil.which(program) is None]
    if missing:
        parser.error(f"no {', '.join(missing)} here: apt-get install {' '.join(PACKAGES[each] for each in missing)}")
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        report = "\n".join(make_report(Path(folder)))
    if options.document is None:
        sys.stdout.write(f"{report}\n")
        return
    head, _, rest = options.document.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    options.document.write_text(f"{head}{BEGIN}\n\n{report}\n\n{END}{tail}", encoding="utf-8")


def make_report(folder: Path) -> Iterator[str]:
    """Yield the lines of the report; `folder` takes two installations."""
    one = deliver(folder / "one", songs=[replace(SONGS[0], output=output) for output in FORMATS])
    (folder / "one-beets").mkdir()
    yield from programs()
    with running_mpd(folder / "one-mpd", targets=one.targets) as mpd:
        beets = BeetsLibrary(one.targets, folder=folder / "one-beets").fields()
        for output in FORMATS:
            file = next(each for each in one.of_format(output) if each.name == "instrumental")
            yield from side_by_side(file, mpd=mpd, beets=beets[file.path])
    yield from lengths(one)
    yield from cuts(one, folder=folder)
    yield from listing(deliver(folder / "album"), folder=folder)


def programs() -> Iterator[str]:
    yield "### The judges"
    yield ""
    yield "| package of Debian 12 | version | programs |"
    yield "|---|---|---|"
    for package in sorted(set(PACKAGES.values())):
        command = ["dpkg-query", "--show", "--showformat", "${Version}", package]
        version = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout
        names = ", ".join(f"`{program}`" for program, each in PACKAGES.items() if each == package)
        yield f"| {package} | {version or 'unknown'} | {names} |"


def side_by_side(file: Delivered, *, mpd: MpdClient, beets: Fields) -> Iterator[str]:
    """Yield one table: the contract, and where each judge says the same."""
    (song,) = mpd.songs("file", f"targets/{file.relative}")
    seen: dict[str, Fields] = {
        judge.program: judge.read(file.path).fields for judge in JUDGES.values() if file.output in judge.formats
    }
    seen["mpd"] = {ours: song[theirs] for theirs, ours in FIELDS.items() if theirs in song}
    seen["beets"] = beets
    yield ""
    yield f"### {file.output}"
    yield ""
    yield f"| field | contract | {' | '.join(seen)} |"
    yield "|---" * (2 + len(seen)) + "|"
    for name, values in file.expected.items():
        yield (
            f"| {name} | {_cell(values)} | "
            + " | ".join(_answer(each.get(name), values) for each in seen.values())
            + " |"
        )
    yield "| cover | front, 600 x 600 | " + " | ".join(_covers(file, seen=seen, mpd=mpd)) + " |"


def _covers(file: Delivered, *, seen: dict[str, Fields], mpd: MpdClient) -> Iterator[str]:
    """Yield what each judge says of the cover: its bytes, its size, that there is one, or nothing."""
    cover = file.cover.read_bytes()
    for program, fields in seen.items():
        reading = JUDGES[program].read(file.path) if program in JUDGES else None
        if program == "mpd":
            yield SAME if mpd.picture("readpicture", f"targets/{file.relative}") == cover else "differs"
        elif reading is None:
            yield UNSEEN
        elif reading.picture is not None:
            yield SAME if reading.picture == cover else "differs"
        elif reading.picture_px is not None:
            yield f"{reading.picture_px[0]} x {reading.picture_px[1]}"
        else:
            yield " ".join(fields.get("COVER", (UNSEEN,)))


def _answer(found: tuple[str, ...] | None, expected: tuple[str, ...]) -> str:
    if found is None:
        return UNSEEN
    if found == expected:
        return SAME
    return "= the first" if found == expected[:1] else f"**{_cell(found)}**"


def _cell(values: tuple[str, ...]) -> str:
    return "; ".join(values).replace("|", "\\|").replace("\n", " / ")


def lengths(library: Library) -> Iterator[str]:
    """Yield the table of decoded lengths."""
    yield ""
    yield "### Decoded length"
    yield ""
    yield "| format | the source at its rate, frames | FFmpeg | the format's own decoder |"
    yield "|---|---|---|---|"
    for output in FORMATS:
        file = library.of_format(output)[0]
        own = OWN_DECODERS.get(output)
        counted = f"{own.count(file.path)} (`{own.program}`)" if own else ""
        yield f"| {output} | {file.frames} | {decode_ffmpeg(file.path).shape[1]} | {counted} |"


def cuts(library: Library, *, folder: Path) -> Iterator[str]:
    """Yield the table of what each judge says to a cut file."""
    yield ""
    yield "### Files that were cut"
    yield ""
    yield f"| format | left | {' | '.join(COMPLAIN)} | decoded by FFmpeg |"
    yield "|---" * (3 + len(COMPLAIN)) + "|"
    for output in FORMATS:
        file = library.of_format(output)[0]
        cut = folder / f"cut.{output}"
        cut.write_bytes(file.path.read_bytes())
        synth.cut_file(cut, share=CUT_AT[output])
        answers = [_shortly(COMPLAIN[judge], cut, able=judge in _able(output)) for judge in COMPLAIN]
        decoded = _decoded(cut)
        yield f"| {output} | {CUT_AT[output]:.0%} | {' | '.join(answers)} | {decoded} of {file.frames} |"


def _able(output: str) -> set[str]:
    """Return the judges that can read the format at all."""
    return {"exiftool", "ffmpeg", *WATCHERS[output]}


def _shortly(complain: Callable[[Path], str], cut: Path, *, able: bool) -> str:
    if not able:
        return ""
    answer = complain(cut)
    line = answer.replace(str(cut), cut.name).strip().splitlines()[0] if answer else "**nothing**"
    return line.replace("|", "\\|")[:100]


def _decoded(cut: Path) -> str:
    try:
        return str(decode_ffmpeg(cut).shape[1])
    except AssertionError:
        return "none"


def listing(library: Library, *, folder: Path) -> Iterator[str]:
    """Yield MPD's view of the whole album, as its clients show it."""
    yield ""
    yield "### MPD's listing"
    yield ""
    yield "```"
    with running_mpd(folder / "mpd", targets=library.targets, stems=library.stems) as mpd:
        songs = sorted(mpd.songs(), key=_shelf)
        for album in dict.fromkeys(_album(song) for song in songs):
            yield " ~ ".join(album)
            for song in songs:
                if _album(song) == album:
                    title = f"{song['Artist'][0]} ~ {song['Title'][0]}"
                    yield f"  {song['Disc'][0]}-{int(song['Track'][0]):02d} ~ {title} ~ {song['file'][0]}"
    yield "```"


def _album(song: dict[str, tuple[str, ...]]) -> tuple[str, str]:
    return song.get("AlbumArtist", song["Artist"])[0], song["Album"][0]


def _shelf(song: dict[str, tuple[str, ...]]) -> tuple[object, ...]:
    return *_album(song), int(song["Disc"][0]), int(song["Track"][0]), song["file"]


if __name__ == "__main__":
    main(sys.argv[1:])
