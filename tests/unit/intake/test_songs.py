"""Ids of songs."""

import os
import re
import time
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.base import SONG_PATTERN
from ironclad_assets.intake.songs import name_refusal, new_song


def test_ids_are_partition_keys_and_never_repeat() -> None:
    ids = {new_song() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(SONG_PATTERN, song) for song in ids)


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """CAT-001."""
    ids = []
    for milliseconds in (1, 31, 32, 1_700_000_000_000, 1_700_000_000_001, 2**47):
        monkeypatch.setattr(time, "time_ns", lambda now=milliseconds: now * 1_000_000)
        ids.append(new_song())
    assert ids == sorted(ids)


def test_a_refused_file_has_one_id_until_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.mp3"
    file.write_bytes(b"a")
    first = name_refusal(file.stat(), user_id="ada")
    assert re.fullmatch(SONG_PATTERN, first)
    assert name_refusal(file.stat(), user_id="ada") == first
    assert name_refusal(file.stat(), user_id="bob") != first
    os.utime(file, ns=(1, 1))
    assert name_refusal(file.stat(), user_id="ada") != first
