"""The commands about weights, against a server on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.cli import model_commands
from ironclad_assets.cli.exits import Exit
from tests.unit.cli.conftest import Run, documents
from tests.unit.engine_host.shop import Goods, Shop, entry, file_entry, open_shop, sha256

WEIGHTS, LARGE = b"weights" * 100, b"large" * 100


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with open_shop() as shop:
        shop.goods["/small.th"], shop.goods["/large.th"] = Goods(WEIGHTS), Goods(LARGE)
        yield shop


@pytest.fixture(autouse=True)
def _catalogue(home: Path, shop: Shop) -> None:
    """The engine `other` has two models; the large one's licence needs consent."""
    shop.asked.clear()
    folder = home.parent / "engines" / "other"
    manifest = (folder / "engine.toml").read_text(encoding="utf-8").replace('"own"', '"core"')
    manifest = manifest.replace('name = "small"', 'name = "small"\nweights = "small"')
    large = '[[models]]\nname = "large"\nweights = "large"\nstems = ["vocals"]\nsample_rate_hz = 44100\nchannels = 2\n'
    (folder / "engine.toml").write_text(manifest + large, encoding="utf-8")
    small = file_entry("small.th", f"{shop.url}/small.th", more=f'sha256 = "{sha256(WEIGHTS)}"\nsize_bytes = 700')
    consent = 'consent = true\nlicence_url = "https://example.org/terms"'
    text = entry("small", small) + entry("large", file_entry("large.th", f"{shop.url}/large.th"), more=consent)
    (folder / "models.toml").write_text(text, encoding="utf-8")


def states(run: Run, *arguments: str) -> dict[str, str]:
    listed = documents(run("models", "list", *arguments, "--json"))["weights"]
    return {one["weights"]: one["state"] for one in listed}


def test_the_list_tells_size_licence_state_and_provenance(run: Run) -> None:
    assert states(run) == {"small": "missing", "large": "missing"}
    run("models", "fetch", "other")
    shown = run("models", "list", "other").stdout
    for said in ("small", "verified", "published", "missing", "MIT", "https://example.org", "Needs your consent once"):
        assert said in shown
    small, large = documents(run("models", "list", "--json"))["weights"]
    assert (small["size_bytes"], small["consent"], small["models"]) == (700, "not needed", ["small"])
    assert (large["size_bytes"], large["consent"]) == (None, "needed")
    assert small["files"][0]["sha256"] == sha256(WEIGHTS)


def test_fetch_brings_the_default_model_or_those_named(run: Run, home: Path) -> None:
    result = run("models", "fetch", "other")
    assert result.exit_code == 0
    assert "verified" in result.stdout
    assert (home / "models" / "other" / "small.th").read_bytes() == WEIGHTS
    assert states(run) == {"small": "verified", "large": "missing"}
    assert run("models", "fetch", "other", "--all", "--accept-licence").exit_code == 0
    assert states(run) == {"small": "verified", "large": "verified"}


def test_a_licence_is_agreed_to_once_and_it_is_kept_who_did(run: Run, home: Path, shop: Shop) -> None:
    refused = run("models", "fetch", "other", "large")
    assert refused.exit_code == Exit.REFUSED
    assert refused.stderr.startswith("model_licence: other large: nobody here has agreed")
    assert "--accept-licence" in refused.stderr
    assert shop.asked == []
    assert run("models", "fetch", "other", "large", "--accept-licence").exit_code == 0
    kept = (home / "models" / "other" / "consents.json").read_text(encoding="utf-8")
    assert '"by": "cli:' in kept
    assert "https://example.org/terms" in kept
    run("models", "remove", "other", "large", "--yes")
    assert run("models", "fetch", "other", "large").exit_code == 0


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, Exit.REFUSED)])
def test_at_a_terminal_the_licence_is_asked_about(
    run: Run, monkeypatch: pytest.MonkeyPatch, answer: bool, code: int
) -> None:
    asked = []

    def confirm(text: str, **options: object) -> bool:
        asked.append(text)
        return answer

    monkeypatch.setattr(model_commands, "_somebody_is_there", lambda: True)
    monkeypatch.setattr(model_commands.typer, "confirm", confirm)
    result = run("models", "fetch", "other", "large")
    assert result.exit_code == code
    assert "https://example.org/terms" in result.stderr
    assert asked == ["Do you agree?"]


def test_mirrors_come_from_the_option_and_then_from_the_setting(
    run: Run, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRONCLAD_MODEL_MIRRORS", f"{shop.url}/two")
    assert run("models", "fetch", "other", "--mirror", f"{shop.url}/one").exit_code == 0
    assert [path for path, _ in shop.asked] == ["/one/other/small.th", "/two/other/small.th", "/small.th"]
    refused = run("models", "fetch", "other", "--mirror", "nonsense")
    assert refused.stderr.startswith("bad_option: the mirror 'nonsense'")


def test_a_download_that_fails_names_where_it_asked(run: Run, shop: Shop) -> None:
    goods = shop.goods.pop("/small.th")
    try:
        result = run("models", "fetch", "other", "--json")
    finally:
        shop.goods["/small.th"] = goods
    assert result.exit_code == Exit.REFUSED
    assert '"download_failed"' in result.stderr
    assert f"{shop.url}/small.th: HTTP 404" in result.stderr


def test_verify_finds_what_the_list_cannot_see(run: Run, home: Path) -> None:
    run("models", "fetch", "other", "--all", "--accept-licence")
    assert run("models", "verify").exit_code == 0
    (home / "models" / "other" / "small.th").write_bytes(b"W" + WEIGHTS[1:])
    assert states(run)["small"] == "unverified"
    result = run("models", "verify", "other")
    assert result.exit_code == Exit.UNHEALTHY
    assert "damaged" in result.stdout
    assert "is not what was pinned" in result.stdout
    assert run("models", "verify", "other", "large").exit_code == 0
    run("models", "remove", "other", "small", "large", "--yes")
    assert run("models", "verify").exit_code == 0
    assert run("models", "verify", "other", "small").exit_code == Exit.UNHEALTHY


def test_a_bundle_goes_to_another_home_in_one_file(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop: Shop
) -> None:
    run("models", "fetch", "other", "--all", "--accept-licence")
    bundle = tmp_path / "weights.tar"
    result = run("models", "export", bundle)
    assert (result.exit_code, result.stdout.startswith(f"wrote {bundle}")) == (0, True)
    assert documents(run("models", "export", tmp_path / "small.tar", "other", "small", "--json"))["weights"] == [
        "other/small"
    ]
    shop.asked.clear()
    monkeypatch.setenv("IRONCLAD_HOME", str(tmp_path / "air-gapped"))
    refused = run("models", "import", bundle)
    assert refused.stderr.startswith("model_licence: other large")
    result = run("models", "import", bundle, "--accept-licence")
    assert result.exit_code == 0
    assert "imported" in result.stdout
    assert states(run) == {"small": "verified", "large": "verified"}
    assert run("models", "verify").exit_code == 0
    assert shop.asked == []


def test_files_that_are_here_already_are_taken(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "small.th").write_bytes(WEIGHTS)
    result = run("models", "import", tmp_path / "cache", "--engine", "other", "--model", "small", "--json")
    assert documents(result)["weights"][0]["files"][0]["provenance"] == "published"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("import", "/no/such.tar"), Exit.NOT_FOUND, "there is no '/no/such.tar'"),
        (("import", __file__), Exit.REFUSED, "is no bundle; say whose weights it has"),
        (("import", __file__, "--engine", "other"), Exit.REFUSED, "belong together"),
        (("import", __file__, "--engine", "other", "--model", "small"), Exit.REFUSED, "model_missing"),
        (("export", "/tmp/x.tar"), Exit.REFUSED, "no weights here to export"),
        (("export", "/no/such/x.tar", "other", "small"), Exit.NOT_FOUND, "there is no folder"),
        (("fetch", "other", "huge"), Exit.REFUSED, "unknown_model: other has no model 'huge', only small, large"),
        (("fetch", "spectral"), Exit.REFUSED, "spectral small needs no weights"),
        (("list", "none"), Exit.REFUSED, "unknown_engine"),
        (("remove", "other", "huge", "--yes"), Exit.REFUSED, "unknown_model"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(run: Run, arguments: tuple[str, ...], code: Exit, said: str) -> None:
    result = run("models", *arguments)
    assert result.exit_code == code
    assert said in result.stderr


def test_remove_asks_first(run: Run, home: Path) -> None:
    run("models", "fetch", "other")
    asked = run("models", "remove", "other", "small")  # nobody answers
    assert asked.exit_code == Exit.INTERRUPTED
    assert "nothing was done; with --yes nobody is asked" in asked.stderr
    assert states(run)["small"] == "verified"
    assert run("models", "remove", "other", "small", "--yes").stdout == "removed small.th\n"
    assert documents(run("models", "remove", "other", "small", "--yes", "--json")) == {"removed": []}
    assert states(run)["small"] == "missing"


def test_a_job_for_weights_that_are_not_here_is_refused_at_submission(run: Run, installed: object, song: Path) -> None:
    """SPLIT-005."""
    result = run("submit", song, "--engine", "other")
    assert result.exit_code == Exit.REFUSED
    assert result.stderr.startswith("model_missing: other small is not on this machine")
    run("models", "fetch", "other")
    assert run("submit", song, "--engine", "other").exit_code == 0
