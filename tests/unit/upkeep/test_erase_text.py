"""Names are found in every spelling and taken out of logs that others are writing."""

import json
from pathlib import Path

import pytest

from ironclad_assets.upkeep.erase.names import ERASED, Names
from ironclad_assets.upkeep.erase.tally import Tally
from ironclad_assets.upkeep.erase.text import erase_from_folder, mask_file

SONG = "s06e3zk9v1xy0qj4m7r2t8w5bcd"
RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"
NAMES = Names(ids=frozenset((SONG, RUN)), phrases=frozenset(("Sünde & 'Söhne'.flac", "x.m")), users=frozenset(("ada",)))


@pytest.mark.parametrize(
    "line",
    [
        f"song={SONG} is here",
        f"run_key {SONG}:1:2",
        f"/storage/{RUN}/compute_logs",
        f"f{RUN[1:]}-{RUN}-0",
        "said \"Sünde & 'Söhne'.flac\" twice",
        f"json {json.dumps(chr(34) + 'Sünde & ' + chr(39) + 'Söhne' + chr(39) + '.flac')}",
        "GET /S%C3%BCnde%20%26%20%27S%C3%B6hne%27.flac",
        "user ada came",
        "input/ada/x.flac",
        "('x.m', 'settles')",
    ],
)
def test_a_name_is_found_however_it_is_spelled(line: str) -> None:
    assert NAMES.find(line.encode()), line


@pytest.mark.parametrize(
    "line", ["metadata of canada", "ada-lovelace came", f"x{SONG}", f"{SONG[:-1]}", "ax.mp3", "0f8fad5b-d9cb-469f"]
)
def test_what_only_looks_alike_is_left_alone(line: str) -> None:
    assert not NAMES.find(line.encode()), line


def test_a_user_called_like_a_word_of_a_program_breaks_no_document() -> None:
    hostile = Names(ids=frozenset(), users=frozenset(("sensor", "started", "eraser")))
    document = {"__class__": "TickData", "instigator_name": "eraser", "type": "sensor", "skip_reason": "sensor came"}
    masked = json.loads(hostile.masked_json(json.dumps(document)))
    assert masked == {**document, "skip_reason": f"{ERASED} came"}


HOSTILE = (
    "status",
    "cursor",
    "index.db",
    "daemon.log",
    "__class__",
    "dagster - INFO",
    "upload_watcher",
    "supervisor.lock",
)


def test_a_song_called_like_a_part_of_the_programs_erases_nothing_of_them(tmp_path: Path) -> None:
    """Who uploads chooses the name, and must not choose with it what of others is erased."""
    hostile = Names(ids=frozenset((SONG,)), phrases=frozenset(HOSTILE))
    document = {"__class__": "InstigatorState", "status": "RUNNING", "name": "upload_watcher", "cursor": {"status": 1}}
    text = json.dumps(document)
    assert hostile.masked_json(text) == text
    line = "2026 - dagster - INFO - upload_watcher: status of index.db\n"
    for name in HOSTILE:
        (tmp_path / name).write_text(line)
    (tmp_path / "processes.json").write_text(text)
    erase_from_folder(tmp_path, names=hostile, tally=Tally(), kind="logs")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((*HOSTILE, "processes.json"))
    assert {(tmp_path / name).read_text() for name in HOSTILE} == {line}
    assert (tmp_path / "processes.json").read_text() == text


@pytest.mark.parametrize("name", HOSTILE)
def test_such_a_name_is_still_taken_out_where_a_message_names_the_song(name: str) -> None:
    hostile = Names(ids=frozenset(), phrases=frozenset((name,)))
    masked = hostile.masked_json(json.dumps({"skip_reason": f"1 taken ({name!r}), 1 waiting ('x.wav': limit)"}))
    assert json.loads(masked) == {"skip_reason": f"1 taken ({ERASED}), 1 waiting ('x.wav': limit)"}


def test_documents_within_documents_stay_documents() -> None:
    cursor = json.dumps({"line": 3, "job_uuid": RUN})
    masked = json.loads(NAMES.masked_json(json.dumps({"cursor": cursor, "ironclad/user": "ada"})))
    assert json.loads(masked["cursor"]) == {"line": 3, "job_uuid": ERASED}
    assert masked["ironclad/user"] == ERASED


def test_text_that_tells_nothing_comes_back_as_it_was() -> None:
    for text in ('{"a":  1}', "no json", '["x"]', "{broken"):
        assert NAMES.masked_json(text) == text


def test_a_line_is_overwritten_in_its_place_while_somebody_writes_the_file(tmp_path: Path) -> None:
    file = tmp_path / "daemon.log"
    file.write_bytes(f"first\nrun {RUN} ended\nshort x\nada\nlast {SONG}".encode())
    size, inode = file.stat().st_size, file.stat().st_ino
    with file.open("ab") as service:
        assert mask_file(file, names=NAMES) == 3
        service.write(b" more\n")
    lines = file.read_bytes().split(b"\n")
    assert (file.stat().st_ino, file.stat().st_size) == (inode, size + 6)
    assert lines[0] == b"first"
    assert lines[1].startswith(ERASED.encode())
    assert lines[2:4] == [b"short x", b"   "]
    assert lines[4].endswith(b" more")
    assert mask_file(file, names=NAMES) == 0, "doing it again changes nothing"


def test_a_large_log_is_masked_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "large.log"
    filler = b"x" * 999 + b"\n"
    with file.open("wb") as stream:
        for part in range(3):
            stream.write(filler * 6000)
            stream.write(f"{part} {SONG}\n".encode())
    assert mask_file(file, names=NAMES) == 3
    assert SONG.encode() not in file.read_bytes()


def test_a_folder_loses_what_is_named_after_an_id_and_databases_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / RUN / "compute_logs").mkdir(parents=True)
    (tmp_path / RUN / "compute_logs" / "x.err").write_text("boo")
    (tmp_path / f"{SONG}.log").write_text("mine")
    (tmp_path / "other.db").write_bytes(SONG.encode())
    (tmp_path / "notes.json").write_text(json.dumps({"taken": ["Sünde & 'Söhne'.flac", "other.flac"]}))
    (tmp_path / "broken.json").write_text(f"{{ {SONG}")
    (tmp_path / "link").symlink_to(tmp_path / "other.db")
    tally = Tally()
    for _ in range(2):
        erase_from_folder(tmp_path, names=NAMES, tally=tally, kind="logs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.json", "link", "notes.json", "other.db"]
    assert json.loads((tmp_path / "notes.json").read_text()) == {"taken": [ERASED, "other.flac"]}
    assert SONG not in (tmp_path / "broken.json").read_text()
    assert (tmp_path / "other.db").read_bytes() == SONG.encode()
    assert tally.removed["logs"] == {"count": 2, "bytes": 7}
    erase_from_folder(tmp_path / "missing", names=NAMES, tally=tally, kind="logs")
    assert mask_file(tmp_path / "missing.log", names=NAMES) == mask_file(tmp_path / "missing.json", names=NAMES) == 0
