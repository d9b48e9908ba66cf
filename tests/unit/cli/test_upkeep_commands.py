"""prune and verify on the command line: what they say, in text and JSON, and how they end."""

import json

import pytest

from ironclad_assets.cli.exits import Exit
from ironclad_assets.storage.store import Store
from tests.unit.upkeep.worlds import make_world


@pytest.fixture
def world(installed, tmp_path):
    store = Store(installed.store_root, reserve_bytes=1)
    world = make_world(installed, store, url=installed.ledger_url, folder=tmp_path)
    yield world
    world.ledger.close()


def test_a_dry_run_shows_paths_and_touches_nothing(world, run):
    """ORG-002: the dry run shows exactly what would go."""
    song = world.song(age_days=8)
    before = world.files()
    said = run("prune", "--dry-run")
    assert said.exit_code == Exit.OK
    assert f"store:stages/stems/{song}/manifest.json" in said.stdout
    assert "6 files" in said.stdout
    document = json.loads(run("prune", "--dry-run", "--json").stdout)
    assert document["dry_run"]
    assert {path for one in document["removals"] for path in one["paths"]} >= {f"stages/stems/{song}/manifest.json"}
    assert document["planned"] == {"intermediate": 6}
    assert world.files() == before


def test_a_long_plan_is_cut_on_a_terminal(world, run):
    for _ in range(2):
        world.song(age_days=8)
    said = run("prune", "--dry-run", "--limit", "1")
    assert "and 5 more; --limit 0 shows all" in said.stdout
    assert "more" not in run("prune", "--dry-run", "--limit", "0").stdout


def test_a_sweep_says_what_went_and_why_something_stayed(world, run):
    world.song(age_days=8)
    said = run("prune", "--kind", "intermediate")
    assert said.exit_code == Exit.OK
    assert said.stdout.startswith("6 files, ")
    assert run("prune").stdout.startswith("nothing gone")
    assert json.loads(run("prune", "--json").stdout)["removed"] == {}


def test_too_much_is_refused_until_it_is_confirmed(world, run):
    world.song()
    world.put("stages/stems/gone/abc/x", b"x" * 100_000)
    said = run("prune", "--json")
    assert said.exit_code == Exit.REFUSED
    assert json.loads(said.stderr)["error"]["code"] == "sweep_too_large"
    assert json.loads(said.stdout)["left_bytes"] == {"": 100_000}
    shown = run("prune", "--dry-run").stdout
    assert "without --confirm this would be left: sweep_too_large" in shown
    assert "left without --confirm: 0.1 MB of nobody" in shown
    assert "store:stages/stems/gone" not in shown
    assert "store:stages/stems/gone" in run("prune", "--dry-run", "--confirm").stdout
    assert run("prune", "--confirm").exit_code == Exit.OK
    assert not (world.store.root / "stages/stems/gone").exists()


@pytest.mark.parametrize("option", ["--dry-run", "--confirm"])
def test_a_user_that_nobody_knows_is_an_error(world, run, option):
    world.song(user="ada", age_days=8)
    said = run("prune", "--user", "adda", option, "--json")
    assert said.exit_code == Exit.REFUSED
    assert json.loads(said.stderr)["error"]["code"] == "unknown_user"
    assert run("prune", "--user", "ada", option).exit_code == Exit.OK


def test_storage_that_is_away_ends_both_commands(world, run):
    """Promise 14."""
    world.store.sentinel.unlink()
    for command in ("prune", "verify"):
        said = run(command)
        assert said.exit_code == Exit.UNHEALTHY
        assert "storage_away" in said.stderr


def test_verify_ends_well_only_when_all_is_well(world, run):
    """Promise 18: the exit code tells, and so does every finding its remedy."""
    song = world.song()
    assert run("verify").exit_code == Exit.OK
    next((world.store.root / "stages/stems" / song).glob("*/audio.f32")).write_bytes(b"half")
    said = run("verify")
    assert said.exit_code == Exit.UNHEALTHY
    assert "file_damaged" in said.stdout
    document = json.loads(run("verify", song, "--json").stdout)
    assert (document["well"], document["found"]) == (False, 1)
    assert song in document["findings"][0]["remedy"]


def test_verify_shows_whole_paths_on_a_narrow_terminal(world, run, monkeypatch):
    """Its remedies say to look at the file, or to upload the original again."""
    damaged = next((world.store.root / "stages/stems" / world.song()).glob("*/audio.f32"))
    damaged.write_bytes(b"half")
    monkeypatch.setenv("COLUMNS", "40")
    shown = "".join(run("verify").stdout.split())
    assert str(damaged.relative_to(world.store.root)) in shown


@pytest.mark.parametrize("subset", ["0/2", "3/2", "1", "x/y", "1/0"])
def test_a_subset_that_is_none_is_refused(world, run, subset):
    said = run("verify", "--subset", subset)
    assert said.exit_code == Exit.REFUSED
    assert subset in said.stderr


def test_a_song_that_nobody_knows_is_not_found(world, run):
    assert run("verify", "nobody").exit_code == Exit.NOT_FOUND
    assert run("verify", "--subset", "1/2").exit_code == Exit.OK
