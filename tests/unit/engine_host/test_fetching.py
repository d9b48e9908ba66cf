"""Fetching weights: published and first hashes, archives, derived files, mirrors, consent, repair."""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.models import StoredWeights
from ironclad_assets.engine_host.fetching import fetch_weights, read_mirrors
from ironclad_assets.engine_host.listening import SilentListener
from ironclad_assets.engine_host.models import find_state, resolve_weights
from ironclad_assets.engine_host.placing import open_shelf
from ironclad_assets.errors import ErrorCode, IroncladError
from tests.unit.engine_host.shop import (
    HASTY,
    Bench,
    Goods,
    Shop,
    entry,
    file_entry,
    make_archive,
    open_shop,
    sha256,
)  # fmt: skip

WEIGHTS = b"pickled by somebody" * 1000
MEMBERS = {"checkpoint": b"model", "model.data": b"d" * 5000}
DERIVE = """
import argparse, pathlib
parser = argparse.ArgumentParser()
for name in ("source", "weights", "output"):
    parser.add_argument("--" + name, required=True)
options = parser.parse_args()
source = pathlib.Path(options.source) / options.weights / "model.data"
pathlib.Path(options.output).write_bytes(b"made of " + source.read_bytes())
"""


@pytest.fixture
def shop() -> Iterator[Shop]:
    with open_shop() as shop:
        yield shop


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def fetch(bench: Bench, model: str = "small", *, mirrors: tuple[str, ...] = ()) -> StoredWeights:
    return fetch_weights(
        bench.engine(),
        weights=bench.weights(model),
        shelf=bench.shelf,
        listener=SilentListener(),
        mirrors=mirrors,
        patience=HASTY,
    )


def stock(bench: Bench, shop: Shop, *, more: str = "", weights_more: str = "") -> None:
    """Offer the file ``small.th`` for both models."""
    shop.goods["/small.th"] = Goods(WEIGHTS)
    file = file_entry("small.th", f"{shop.url}/small.th", more=more)
    bench.write(entry("small", file, more=weights_more) + entry("large", file))


def stock_archive(bench: Bench, shop: Shop, content: bytes, *, derived: str = "", more: str = "") -> None:
    shop.goods["/small.tar.gz"] = Goods(content)
    file = file_entry(
        "small.tar.gz",
        f"{shop.url}/small.tar.gz",
        more=f'unpack = "small"\nmembers = ["checkpoint", "model.data"]\n{more}',
    )
    bench.write(entry("small", file, derived) + entry("large", file_entry("x", f"{shop.url}/x")))


def left_over(bench: Bench) -> set[str]:
    return {path.name for path in bench.shelf.folder.iterdir()}


def test_a_published_hash_is_met_and_told(bench: Bench, shop: Shop) -> None:
    stock(bench, shop, more=f'sha256 = "{sha256(WEIGHTS)}"\nsize_bytes = {len(WEIGHTS)}')
    (file,) = fetch(bench).files
    assert (file.provenance, file.origin, file.sha256) == ("published", f"{shop.url}/small.th", sha256(WEIGHTS))
    assert bench.shelf.path("small.th").read_bytes() == WEIGHTS
    assert left_over(bench) == {"small.th", "small.json", ".hashed.json", ".lock"}
    (resolved,) = resolve_weights(bench.engine(), None, models_dir=bench.models_dir)
    assert resolved.name == "small.th"
    assert (resolved.path, resolved.sha256) == (str(bench.shelf.path("small.th")), sha256(WEIGHTS))


def test_a_wrong_file_never_gets_its_name(bench: Bench, shop: Shop) -> None:
    stock(bench, shop, more=f'sha256 = "{sha256(b"the right one")}"')
    with pytest.raises(IroncladError, match=f"{sha256(WEIGHTS)}.*as published") as caught:
        fetch(bench)
    assert caught.value.code is ErrorCode.MODEL_DAMAGED
    assert left_over(bench) == {".lock"}


def test_without_a_published_hash_the_first_fetch_pins_and_a_later_other_file_is_refused(
    bench: Bench, shop: Shop
) -> None:
    stock(bench, shop, more=f'sha256_prefix = "{sha256(WEIGHTS)[:8]}"')
    assert fetch(bench).files[0].provenance == "first_fetch"
    bench.shelf.path("small.th").unlink()
    stock(bench, shop)  # also the prefix is gone: only the pin is left to tell
    shop.goods["/small.th"] = Goods(b"another file, perhaps an attack")
    with pytest.raises(IroncladError, match="pinned here at its first fetch") as caught:
        fetch(bench)
    assert caught.value.code is ErrorCode.MODEL_DAMAGED
    assert not bench.shelf.path("small.th").exists()


def test_a_known_beginning_of_the_hash_must_be_met(bench: Bench, shop: Shop) -> None:
    stock(bench, shop, more='sha256_prefix = "00000000"')
    with pytest.raises(IroncladError, match="does not begin with 00000000"):
        fetch(bench)


def test_what_is_here_is_not_fetched_again_and_what_is_damaged_is(bench: Bench, shop: Shop) -> None:
    stock(bench, shop)
    first = fetch(bench)
    shop.asked.clear()
    assert fetch(bench) == first
    assert shop.asked == []
    bench.shelf.path("small.th").write_bytes(b"x" * len(WEIGHTS))
    fetch(bench)
    assert bench.shelf.path("small.th").read_bytes() == WEIGHTS
    assert find_state(bench.weights(), shelf=bench.shelf).state == "verified"


def test_texts_of_the_catalogue_are_written_beside_and_pinned(bench: Bench, shop: Shop) -> None:
    stock(bench, shop, weights_more='text = { "small.yaml" = "models: [\'small\']\\n" }')
    fetch(bench)
    assert bench.shelf.path("small.yaml").read_text(encoding="utf-8") == "models: ['small']\n"
    names = [file.name for file in resolve_weights(bench.engine(), None, models_dir=bench.models_dir)]
    assert names == ["small.yaml", "small.th"]


def test_only_listed_members_come_out_of_an_archive(bench: Bench, shop: Shop) -> None:
    content = make_archive({**{f"./{name}": body for name, body in MEMBERS.items()}, "evil.py": b"x", "../up": b"x"})
    stock_archive(bench, shop, content, more=f'sha256 = "{sha256(content)}"')
    record = fetch(bench)
    assert {file.name: file.provenance for file in record.files} == {
        "small/checkpoint": "published", "small/model.data": "published",
    }  # fmt: skip
    assert record.archives[0].sha256 == sha256(content)
    assert {path.name for path in (bench.shelf.folder / "small").iterdir()} == set(MEMBERS)
    assert not [path for path in bench.root.rglob("*") if path.name in ("up", "evil.py", "small.tar.gz")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(make_archive({"checkpoint": b"x"}), "lacks model.data", id="member missing"),
        pytest.param(
            make_archive({"checkpoint": b"x"}, links={"model.data": "/etc/passwd"}), "not a plain file", id="link"
        ),
        pytest.param(
            make_archive({"../checkpoint": b"x", "/model.data": b"x"}), "lacks checkpoint, model.data", id="outside"
        ),
        pytest.param(b"no archive at all", "small.tar.gz", id="no archive"),
        pytest.param(make_archive(MEMBERS)[:60], "small.tar.gz", id="cut off"),
    ],
)
def test_an_archive_that_is_wrong_is_refused_whole(bench: Bench, shop: Shop, content: bytes, said: str) -> None:
    stock_archive(bench, shop, content)
    with pytest.raises(IroncladError, match=said) as caught:
        fetch(bench)
    assert caught.value.code is ErrorCode.MODEL_DAMAGED
    assert not (bench.shelf.folder / "small").exists()
    assert not list(bench.shelf.folder.glob(".work-*"))


def test_members_that_were_pinned_must_come_again(bench: Bench, shop: Shop) -> None:
    stock_archive(bench, shop, make_archive(MEMBERS))
    record = fetch(bench)
    bench.shelf.path("small/checkpoint").unlink()
    bench.shelf.write_record(record.model_copy(update={"archives": ()}))
    shop.goods["/small.tar.gz"] = Goods(make_archive({**MEMBERS, "model.data": b"other"}))
    with pytest.raises(IroncladError, match=r"small/model.data has the SHA-256"):
        fetch(bench)


def test_derived_files_are_made_by_the_engine_and_pinned(bench: Bench, shop: Shop) -> None:
    derived = '[[weights.derived]]\nname = "small.bin"\nenvironment = "default"\nmodule = "derive"'
    stock_archive(bench, shop, make_archive(MEMBERS), derived=derived)
    (bench.engine().folder / "derive.py").write_text(DERIVE, encoding="utf-8")
    made = b"made of " + MEMBERS["model.data"]
    file = next(file for file in fetch(bench).files if file.name == "small.bin")
    assert (file.provenance, file.origin, file.sha256) == ("derived", "derive", sha256(made))
    assert bench.shelf.path("small.bin").read_bytes() == made
    bench.shelf.path("small.bin").unlink()
    shop.asked.clear()
    fetch(bench)
    assert shop.asked == []
    assert bench.shelf.path("small.bin").read_bytes() == made


def test_a_derived_file_that_is_whole_is_not_made_again(bench: Bench, shop: Shop) -> None:
    derived = '[[weights.derived]]\nname = "small.bin"\nenvironment = "default"\nmodule = "derive"'
    stock_archive(bench, shop, make_archive(MEMBERS), derived=derived)
    (bench.engine().folder / "derive.py").write_text(DERIVE, encoding="utf-8")
    first = fetch(bench)
    (bench.engine().folder / "derive.py").unlink()
    assert {file.name: file for file in fetch(bench).files} == {file.name: file for file in first.files}
    assert find_state(bench.weights(), shelf=bench.shelf).state == "verified"


def test_a_derivation_that_fails_keeps_what_was_fetched(bench: Bench, shop: Shop) -> None:
    derived = '[[weights.derived]]\nname = "small.bin"\nenvironment = "default"\nmodule = "derive"'
    stock_archive(bench, shop, make_archive(MEMBERS), derived=derived)
    (bench.engine().folder / "derive.py").write_text("raise SystemExit('the checkpoint is strange')", encoding="utf-8")
    with pytest.raises(IroncladError, match="the checkpoint is strange") as caught:
        fetch(bench)
    assert caught.value.code is ErrorCode.ENGINE_FAILED
    with pytest.raises(IroncladError, match="lacks small") as missing:
        resolve_weights(bench.engine(), None, models_dir=bench.models_dir)
    assert missing.value.code is ErrorCode.MODEL_MISSING
    shop.asked.clear()
    (bench.engine().folder / "derive.py").write_text(DERIVE, encoding="utf-8")
    fetch(bench)
    assert shop.asked == []


def test_a_missing_environment_is_told_before_anything_is_fetched(bench: Bench, shop: Shop) -> None:
    derived = '[[weights.derived]]\nname = "small.bin"\nenvironment = "tensorflow"\nmodule = "derive"'
    file = file_entry("x", f"{shop.url}/x")
    bench.write(
        entry("small", file, derived) + entry("large", file),
        environment="own",
        more='[environments.tensorflow]\nrequirements = ["tensorflow"]\n',
    )
    with pytest.raises(IroncladError, match="pipelinectl engines install fake") as caught:
        fetch(bench)
    assert caught.value.code is ErrorCode.ENGINE_UNAVAILABLE
    assert shop.asked == []


def test_mirrors_are_asked_first(bench: Bench, shop: Shop) -> None:
    stock(bench, shop)
    shop.goods["/mirror/fake/small.th"] = Goods(WEIGHTS)
    record = fetch(bench, mirrors=(f"{shop.url}/empty", f"{shop.url}/mirror/"))
    assert [path for path, _ in shop.asked] == ["/empty/fake/small.th", "/mirror/fake/small.th"]
    assert record.files[0].origin == f"{shop.url}/mirror/fake/small.th"


@pytest.mark.parametrize("text", ["ftp://host/", "host/models", "https://"])
def test_a_mirror_must_be_an_address(text: str) -> None:
    with pytest.raises(IroncladError, match="the mirror") as caught:
        read_mirrors(f"https://good.example.org/m, {text}")
    assert caught.value.code is ErrorCode.BAD_OPTION
    assert read_mirrors(" https://a/m ,https://b") == ("https://a/m", "https://b")


def test_a_password_in_a_mirror_is_refused_and_not_repeated() -> None:
    with pytest.raises(IroncladError, match=r"the mirror at m\.example\.org:8443 has") as caught:
        read_mirrors("https://ada:secret@m.example.org:8443/models")
    assert caught.value.code is ErrorCode.BAD_OPTION
    assert "secret" not in caught.value.describe()


def test_plain_http_is_not_trusted_with_the_first_word(bench: Bench) -> None:
    file = file_entry("small.th", "http://weights.invalid/small.th")
    bench.write(entry("small", file) + entry("large", file))
    with pytest.raises(IroncladError, match="plain HTTP, and nobody published the hash"):
        fetch(bench)


def test_a_mirror_stands_in_for_plain_http_which_is_not_asked(bench: Bench, shop: Shop) -> None:
    file = file_entry("small.th", "http://weights.invalid/small.th")
    bench.write(entry("small", file) + entry("large", file))
    with pytest.raises(IroncladError, match=r"mirror/fake/small\.th: HTTP 404") as caught:
        fetch(bench, mirrors=(f"{shop.url}/mirror",))
    assert "weights.invalid" not in caught.value.detail
    shop.goods["/mirror/fake/small.th"] = Goods(WEIGHTS)
    assert fetch(bench, mirrors=(f"{shop.url}/mirror",)).files[0].provenance == "first_fetch"


def test_nothing_is_fetched_without_the_consent_that_a_licence_needs(bench: Bench, shop: Shop) -> None:
    stock(bench, shop, weights_more='consent = true\nlicence_url = "https://example.org/licence"')
    with pytest.raises(IroncladError, match=r"example\.org/licence") as caught:
        fetch(bench)
    assert caught.value.code is ErrorCode.MODEL_LICENCE
    assert shop.asked == []
    bench.agree()
    fetch(bench)
    stock(bench, shop, weights_more='consent = true\nlicence_url = "https://example.org/stricter"')
    with pytest.raises(IroncladError) as again:
        resolve_weights(bench.engine(), None, models_dir=bench.models_dir)
    assert again.value.code is ErrorCode.MODEL_LICENCE


def test_two_commands_do_not_change_a_shelf_at_once(bench: Bench, shop: Shop) -> None:
    stock(bench, shop)
    with open_shelf(bench.shelf), pytest.raises(IroncladError, match="another command is changing"):
        fetch(bench)
    fetch(bench)


def test_what_a_killed_command_left_is_cleared_away(bench: Bench, shop: Shop) -> None:
    stock(bench, shop)
    left = bench.shelf.folder / ".work-of-the-dead"
    left.mkdir(parents=True)
    (left / "file").touch()
    fetch(bench)
    assert not left.exists()


def test_a_file_has_its_name_only_when_it_is_whole(bench: Bench, shop: Shop) -> None:
    """A reader that looks all the time sees nothing or everything."""
    stock(bench, shop)
    shop.goods["/small.th"].cuts += [100, 5000, 10000]
    path, seen, done = bench.shelf.path("small.th"), set(), threading.Event()

    def look() -> None:
        while not done.is_set():
            if path.exists():
                seen.add(hashlib.sha256(path.read_bytes()).hexdigest())
            os.sched_yield()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        fetch(bench)
    finally:
        done.set()
        thread.join()
    assert seen <= {sha256(WEIGHTS)}
