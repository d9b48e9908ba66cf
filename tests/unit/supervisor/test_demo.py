"""The demo's own decisions: its home, its ports, what is compared with what, how a failure is told."""

import socket
from pathlib import Path

import pytest
from filelock import FileLock

from ironclad_assets.contracts.v1.job import Job, JobError, JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.settings import Settings
from ironclad_assets.supervisor import demo

KNOWN = {"vocals": "v", "drums": "d", "bass": "b", "other": "o"}


def test_a_first_demo_makes_its_home_and_a_second_one_empties_it(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    demo._make_home(home)
    (home / "ledger.db").touch()
    demo._make_home(home)
    assert [path.name for path in home.iterdir()] == [demo.MARKER]


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(IroncladError, match="is not empty") as caught:
        demo._make_home(tmp_path)
    assert caught.value.code is ErrorCode.BAD_OPTION
    assert (tmp_path / "thesis.txt").exists()


def test_a_demo_that_still_runs_is_left_alone(tmp_path: Path) -> None:
    demo._make_home(tmp_path / "demo")
    (tmp_path / "demo" / "run").mkdir()
    with FileLock(tmp_path / "demo" / "run" / "supervisor.lock"), pytest.raises(IroncladError, match="still running"):
        demo._make_home(tmp_path / "demo")
    assert (tmp_path / "demo" / demo.MARKER).exists()


def test_the_demo_lives_in_the_folder_demo_unless_a_home_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo._demo_settings(Settings()).home_dir == tmp_path / "demo"
    assert demo._demo_settings(Settings(home=tmp_path / "mine")).store_root == tmp_path / "mine" / "pipeline-data"


@pytest.mark.parametrize("option", [{"data": Path("/srv/data")}, {"database_url": "sqlite:////srv/ledger.db"}])
def test_the_demo_touches_no_data_of_the_installation(option: dict[str, object]) -> None:
    with pytest.raises(IroncladError, match="data of its own"):
        demo._demo_settings(Settings(**option))


def test_a_taken_port_is_avoided() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        chosen = demo._demo_settings(Settings(web_port=port)).web_port
    assert chosen not in (port, 0)


def test_other_is_compared_with_everything_that_has_no_stem_of_its_own() -> None:
    truths = demo._truths(KNOWN, stems=["vocals", "drums", "other"])
    assert truths["vocals"] == ["v"]
    assert sorted(truths["other"]) == ["b", "o"]
    assert sorted(truths["instrumental"]) == sorted(truths["accompaniment"]) == ["b", "d", "o"]


def test_four_stems_are_compared_one_to_one() -> None:
    truths = demo._truths(KNOWN, stems=list(KNOWN))
    assert {name: truths[name] for name in KNOWN} == {name: [path] for name, path in KNOWN.items()}


def test_a_failed_job_is_told_with_its_code_stage_and_remedy() -> None:
    error = JobError(code="stems_invalid", detail="vocals are silent", remedy="retry", stage="stems")
    job = Job(
        job_uuid="j", song="s", user_id="u", trace_id="t", attempt=1, state=JobState.FAILED, options=JobOptions(),
        original_name="a.flac", error=error, created_at="", updated_at="",
    )  # fmt: skip
    told = demo._error_of(job)
    assert told.code is ErrorCode.STEMS_INVALID
    assert told.detail == "in stems: vocals are silent; retry"


def test_the_song_appears_in_the_upload_folder_whole(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "a.flac").write_bytes(b"x" * 3_000_000)
    demo._drop(tmp_path / "a.flac", tmp_path / "input")
    assert [path.name for path in (tmp_path / "input").iterdir()] == ["a.flac"]
    assert (tmp_path / "input" / "a.flac").stat().st_size == 3_000_000
