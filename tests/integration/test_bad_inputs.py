"""All 64 bad inputs of the table, each with the answer that the table states and with what holds for every input.

The table is in `tests.bad_inputs`. Rows about content, tags and names pass the gate here, in one installation, one
after the other and each followed by a good song; rows about doors are proved in `test_bad_doors`, malware in
`test_antivirus`.
"""

import ast
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.limits import LimitScope
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.errors import ErrorCode
from ironclad_assets.intake.names import LONGEST_NAME_BYTES
from ironclad_assets.pipeline.policy import Policy, crash_as_damage
from ironclad_assets.pipeline.wishes import original_extension
from ironclad_assets.sandbox.process import IMPORT_ROOT
from ironclad_assets.sandbox.task import ChildCrashError, run_task
from ironclad_assets.storage.artifacts import load_artifact
from tests import synth
from tests.bad_inputs import makers, tags
from tests.bad_inputs.gate import Gate, Outcome, check_always
from tests.bad_inputs.rows import MOST_ROWS, ROWS, make_page
from tests.bad_inputs.table import Case, Row
from tests.integration.conftest import Installation, open_installation
from tests.unit.audio import tagged_files

ROOT = Path(__file__).resolve().parents[2]
PROOFS = ("test_bad_inputs.py", "test_bad_doors.py", "test_antivirus.py")
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
MUTANTS = 200
MORE_MUTANTS = 1_000 * ROUNDS
EACH_CASE = [
    pytest.param(
        row,
        case,
        id=f"{row.number} {os.fsdecode(case.name)[:30]!r}",
        marks=[pytest.mark.chaos, pytest.mark.long] if case.heavy else [],
    )
    for row in ROWS
    for case in row.cases
]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """One installation for all inputs: what one of them leaves behind, the next would meet."""
    with open_installation(tmp_path_factory.mktemp("installation")) as installation:
        gate = Gate(installation)
        yield gate
        gate.close()


def make(case: Case, *, folder: Path) -> Path:
    """Write the input of `case` in `folder` and return its path."""
    plain, path = folder / "input", folder / os.fsdecode(case.name)
    if Path(path.name).suffix and path.name.isascii() and path.name.isprintable():
        plain = path  # makers that write audio choose by the extension
    case.make(plain)
    return path if plain == path else plain.rename(path)


@pytest.mark.parametrize(("row", "case"), EACH_CASE)
def test_bad_input_gets_the_answer_of_its_row(gate: Gate, row: Row, case: Case) -> None:
    """CAT-002, promises 6 and 10: a published code that names the reason, bounded cost, and the next song succeeds."""
    path = make(case, folder=gate.make_folder())
    before = gate.tree()
    outcome = gate.judge(path, stages=case.stages)
    check_always(outcome, gate=gate)
    after = {path for path in gate.tree() - before if "ledger.db" not in path}
    assert after == set(), "something was written that is no part of the store's own business"
    check_answer(outcome, row=row, case=case)
    gate.send_good_song()


def check_answer(outcome: Outcome, *, row: Row, case: Case) -> None:
    assert outcome.job is not None, outcome.ignored
    if case.code is not None:
        assert outcome.code == case.code.code, outcome.detail
        assert re.search(case.says, outcome.detail), outcome.detail
        assert row.status == case.code.facts.http_status
        return
    assert outcome.job.state is JobState.COMPLETED, (outcome.code, outcome.detail)
    assert outcome.validated is not None
    assert outcome.validated.audio.frames > 0
    assert outcome.validated.silent is case.silent
    expected = [one for one in outcome.validated.warnings if not (row.number == 43 and "extension" in one)]
    if case.says:
        assert any(re.search(case.says, warning) for warning in expected), expected
    else:
        assert expected == []
    shown = outcome.job.original_name
    assert shown.isprintable()
    assert "/" not in shown
    assert len(shown.encode("utf-8")) <= LONGEST_NAME_BYTES
    if 32 <= row.number <= 37:
        check_metadata(outcome, row=row)


def check_metadata(outcome: Outcome, *, row: Row) -> None:
    """Check what was kept of tags that were made to hurt."""
    found = outcome.metadata
    assert found is not None
    assert found.artwork is None
    assert len(found.fields) <= tags.MOST_FIELDS
    kept = [found.title, found.artist or "", found.album or "", found.comment or "", *found.genres]
    kept += [value for values in found.fields.values() for value in values]
    assert all(len(text.encode("utf-8")) <= tags.MOST_BYTES for text in kept)
    assert all(character.isprintable() or character == "\n" for text in kept for character in text)
    if row.number in (33, 34, 35):
        assert found.title == "Title"
        assert found.warnings


def test_the_table_has_all_its_rows_and_each_is_shown() -> None:
    """Every row has a case or a test that exists."""
    assert [row.number for row in ROWS] == list(range(1, MOST_ROWS + 1))
    written = set()
    for name in PROOFS:
        tree = ast.parse((Path(__file__).parent / name).read_text(encoding="utf-8"))
        written |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for row in ROWS:
        assert row.cases or row.proof, row.number
        assert set(row.proof) <= written, row.number
        assert {code.facts.http_status for code in row.all_codes} <= {row.status}, row.number


def test_the_page_of_the_table_is_the_table() -> None:
    assert (ROOT / "docs" / "bad-files.md").read_text(encoding="utf-8") == make_page()


# Rows that a case alone does not prove


def test_silence_goes_through_to_the_library_and_claims_no_stems(installation: Installation) -> None:
    """Row 4."""
    path = synth.write_flac(installation.folder / "silence.flac", synth.silence(3.0))
    job = installation.submit(path)
    assert installation.dispatch(job).success
    stems = load_artifact(installation.store.stage("stems", job.song), Stems)
    assert [stem.levels.peak for stem in stems.payload.stems] == [0.0] * len(stems.payload.stems)


def test_playlists_reach_nobody(gate: Gate) -> None:
    """Row 24, promise 10: an address in a file is never asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x.ts"
        for name in ("hls.mp3", "hls.m3u8", "concat.mp3"):
            write = synth.ffconcat_text if name.startswith("concat") else synth.hls_text
            outcome = gate.judge(write(gate.make_folder() / name, target=f"{address}?{name}"))
            assert outcome.code == "not_audio"
            check_always(outcome, gate=gate)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize("write", [synth.ffconcat_text, synth.hls_text])
def test_playlists_never_open_the_song_beside_them(gate: Gate, write: Callable[..., Path]) -> None:
    """Rows 25 and 26: a good song that is named must not come back as the playlist's audio."""
    secret = synth.write_wav(gate.installation.store.archive / "secret.wav", synth.music(2.0))
    outcome = gate.judge(write(gate.make_folder() / "x.mp3", target=str(secret)))
    secret.unlink()
    assert outcome.code == "not_audio"


def test_a_wrong_extension_is_corrected_where_the_original_is_delivered() -> None:
    """Row 20."""
    assert original_extension("song.mp3", container="flac") == "flac"
    assert original_extension("song.MP3", container="mp3") == "mp3"


def test_types_are_limited_per_user(gate: Gate) -> None:
    """SPLIT-020, row 29: what a user may upload is decided by content, whatever the name."""
    limits = gate.installation.ledger.limits
    limits.set(LimitScope.USER, "strict", "types", ("flac", "wav"), actor="test")
    outcome = gate.judge(
        makers.video(gate.make_folder() / "video.mp4").rename(gate.make_folder() / "a.wav"), user_id="strict"
    )
    assert outcome.code == ErrorCode.TYPE_REFUSED.code
    assert outcome.detail == "the file is mp4; taken from this user are flac, wav"
    check_always(outcome, gate=gate)
    good = synth.write_flac(gate.make_folder() / "a.mp3", synth.noise(0.6, seed=77))
    assert gate.judge(good, user_id="strict").job.state is JobState.COMPLETED
    limits.set(LimitScope.USER, "strict", "max_duration_s", 0.7, actor="test")
    long = synth.write_flac(gate.make_folder() / "b.flac", synth.noise(0.8, seed=78))
    assert gate.judge(long, user_id="strict").code == ErrorCode.TOO_LONG.code


def test_hostile_tags_and_names_stay_inside_the_library(installation: Installation) -> None:
    """Rows 36, 37 and 43: through the whole graph, in one library."""
    inputs = {
        os.fsdecode(b"--new\nline \xff\xfe \xe2\x80\xae..%2f.flac"): lambda path: synth.write_flac(
            path, synth.noise(0.6)
        ),
        "tags.flac": tags.hostile_texts,
    }
    for name, write in inputs.items():
        path = Path(shutil.move(write(installation.folder / "plain.flac"), installation.folder / name))
        job = installation.submit(path)
        assert installation.dispatch(job).success
    root = installation.store.root.resolve()
    library = list(installation.store.library("output").rglob("*"))
    assert len([path for path in library if path.suffix == ".flac"]) == len(inputs)
    delivered = [*library, *installation.store.library("output-stems").rglob("*")]
    for path in delivered:
        assert path.resolve().is_relative_to(root)
        for part in path.relative_to(root).parts:
            assert len(part.encode()) <= 255
            assert part.isprintable()
            assert part not in ("..", "x")
            assert not set(part) & set('<>:"|?*')
    assert {path for path in installation.folder.rglob("*.flac") if "pipeline-data" not in path.parts} == set()


def test_names_that_look_the_same_do_not_collide(installation: Installation) -> None:
    """Row 42."""
    for number, name in enumerate(("caf\u00e9.flac", "cafe\u0301.flac")):
        job = installation.song(name, seconds=0.6, seed=number)
        assert installation.dispatch(job).success
    files = list(installation.store.library("output").rglob("*.flac"))
    assert len(files) == 2
    assert len({path.name.casefold() for path in files}) == 2


MUTATED = {
    "wav": lambda folder: synth.write_wav(folder / "a.wav", synth.music(0.5)),
    "flac": lambda folder: synth.write_flac(folder / "a.flac", synth.music(0.5)),
    "mp3": lambda folder: synth.write_mp3(folder / "a.mp3", synth.music(0.5)),
    "ogg": lambda folder: synth.write_ogg(folder / "a.ogg", synth.music(0.5)),
    "opus": tagged_files.opus,
    "m4a": tagged_files.m4a,
    "aiff": tagged_files.aiff,
    "wavpack": tagged_files.wavpack,
    "wma": tagged_files.wma,
    "matroska": lambda folder: makers.matroska(folder / "a.mka", packets=200, frames=60),
}


@pytest.mark.parametrize("kind", MUTATED)
def test_mutated_copies_get_a_published_answer_within_their_time(tmp_path: Path, kind: str) -> None:
    """Row 64: whatever the bytes, the answer is a code of the file's; a decoder that crashes is contained."""
    judge_mutants(kind, folder=tmp_path, first=0, last=MUTANTS)


@pytest.mark.chaos
@pytest.mark.long
@pytest.mark.parametrize("kind", MUTATED)
def test_very_many_mutated_copies_get_one_too(tmp_path: Path, kind: str) -> None:
    """Row 64, with more time."""
    judge_mutants(kind, folder=tmp_path, first=MUTANTS, last=MUTANTS + MORE_MUTANTS)


def judge_mutants(kind: str, *, folder: Path, first: int, last: int) -> None:
    """Judge spoilt copies of one kind of file, by their seeds, two hundred in each child."""
    path = MUTATED[kind](folder)
    policy, seed = Policy(), first
    codes: list[str] = []
    seconds: list[float] = []
    while seed < last:
        told = LastWord()
        end = min(seed + 200, last)
        try:
            found = run_task(
                "tests.bad_inputs.mutants:inspect_mutants",
                arguments={"path": str(path), "first": seed, "last": end},
                limits=policy.media_limits(duration_s=3600.0, file_bytes=1 << 20),
                readable=[path],
                writable=[folder],
                watch=told,
                code=[IMPORT_ROOT],
            )
        except ChildCrashError as crash:
            codes.append(crash_as_damage(crash).code.code)  # as the product does
            seed = int(told.said) + 1
            continue
        codes += found["codes"]
        seconds += found["seconds"]
        seed = end
    known = {code.code for code in ErrorCode} - {ErrorCode.INTERNAL.code}
    assert set(codes) <= known | {"accepted"}
    assert len(codes) > (last - first) // 2  # a crash costs the answers of its batch before it
    assert max(seconds) < 22.0


class LastWord:
    """A watch that keeps what it was told last."""

    said = "-1"

    def progress(self, _fraction: float, message: str) -> None:
        self.said = message

    def canceled(self) -> bool:
        return False
