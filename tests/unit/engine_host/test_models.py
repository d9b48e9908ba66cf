"""How weights are said to be: by names and sizes for jobs, by hashes for people."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.engine_host.catalogue import read_catalogue
from ironclad_assets.engine_host.fetching import fetch_weights
from ironclad_assets.engine_host.listening import SilentListener
from ironclad_assets.engine_host.models import (
    find_state,
    remove_weights,
    resolve_weights,
    verify_weights,
)  # fmt: skip
from ironclad_assets.errors import ErrorCode, IroncladError
from tests.unit.engine_host.shop import HASTY, Bench, Goods, Shop, entry, file_entry, open_shop, sha256

SHARED, OWN = b"shared" * 100, b"own" * 100


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with open_shop() as shop:
        shop.goods["/shared"], shop.goods["/own"] = Goods(SHARED), Goods(OWN)
        yield shop


@pytest.fixture
def bench(tmp_path: Path, shop: Shop) -> Bench:
    bench = Bench(tmp_path)
    shared, own = file_entry("parts/shared", f"{shop.url}/shared"), file_entry("own", f"{shop.url}/own")
    bench.write(entry("small", shared) + entry("large", shared, own))
    return bench


def fetch(bench: Bench, model: str = "small") -> None:
    fetch_weights(
        bench.engine(), weights=bench.weights(model), shelf=bench.shelf, listener=SilentListener(), patience=HASTY
    )


def state(bench: Bench, model: str = "small") -> str:
    return find_state(bench.weights(model), shelf=bench.shelf).state


def resolving(bench: Bench, model: str | None = None) -> IroncladError:
    with pytest.raises(IroncladError) as caught:
        resolve_weights(bench.engine(), model, models_dir=bench.models_dir)
    return caught.value


def test_a_model_without_weights_has_no_files(bench: Bench) -> None:
    assert resolve_weights(bench.engine(), "none", models_dir=bench.models_dir) == ()


def test_an_unknown_model_is_refused_with_the_list_of_what_there_is(bench: Bench) -> None:
    error = resolving(bench, "huge")
    assert error.code is ErrorCode.UNKNOWN_MODEL
    assert "small, large, none" in error.detail


def test_weights_that_were_never_fetched_are_missing(bench: Bench) -> None:
    error = resolving(bench)
    assert error.code is ErrorCode.MODEL_MISSING
    assert "models fetch" in error.describe()
    assert state(bench) == "missing"


def test_files_that_somebody_put_there_are_unverified_and_not_loaded(bench: Bench) -> None:
    path = bench.shelf.path("parts/shared")
    path.parent.mkdir(parents=True)
    path.write_bytes(SHARED)
    assert state(bench) == "unverified"
    error = resolving(bench)
    assert error.code is ErrorCode.MODEL_MISSING
    assert "never pinned" in error.detail


def test_fetched_weights_are_verified(bench: Bench) -> None:
    fetch(bench)
    assert state(bench) == "verified"
    (file,) = resolve_weights(bench.engine(), None, models_dir=bench.models_dir)
    assert (file.name, file.size_bytes, file.sha256) == ("parts/shared", len(SHARED), sha256(SHARED))


def test_a_file_that_changed_is_unverified_until_it_is_hashed_again(bench: Bench) -> None:
    fetch(bench)
    os.utime(bench.shelf.path("parts/shared"), (1, 1))
    assert state(bench) == "unverified"
    assert verify_weights(bench.weights(), shelf=bench.shelf).state == "verified"
    assert state(bench) == "verified"


def test_a_flipped_bit_is_found_by_verify_and_stays_known(bench: Bench) -> None:
    fetch(bench)
    path = bench.shelf.path("parts/shared")
    path.write_bytes(b"S" + SHARED[1:])
    assert state(bench) == "unverified"
    assert verify_weights(bench.weights(), shelf=bench.shelf).state == "damaged"
    assert state(bench) == "damaged"


def test_a_truncated_file_is_damage_at_once(bench: Bench) -> None:
    fetch(bench)
    bench.shelf.path("parts/shared").write_bytes(SHARED[:-1])
    assert state(bench) == "damaged"
    error = resolving(bench)
    assert error.code is ErrorCode.MODEL_DAMAGED
    assert f"has {len(SHARED) - 1} bytes, not the {len(SHARED)}" in error.detail


def test_a_file_that_went_away_is_missing(bench: Bench) -> None:
    fetch(bench)
    bench.shelf.path("parts/shared").unlink()
    assert state(bench) == "missing"
    assert verify_weights(bench.weights(), shelf=bench.shelf).state == "missing"
    assert resolving(bench).code is ErrorCode.MODEL_MISSING


def test_a_torn_record_is_damage(bench: Bench) -> None:
    fetch(bench)
    bench.shelf.record_path("small").write_text("{", encoding="utf-8")
    assert resolving(bench).code is ErrorCode.MODEL_DAMAGED
    assert state(bench) == "damaged"


def test_a_pin_that_a_newer_catalogue_denies_is_damage(bench: Bench, shop: Shop) -> None:
    fetch(bench)
    published = file_entry("parts/shared", f"{shop.url}/shared", more=f'sha256 = "{sha256(b"newer")}"')
    bench.write(entry("small", published) + entry("large", published))
    assert resolving(bench).code is ErrorCode.MODEL_DAMAGED


def test_a_torn_note_of_hashes_only_costs_the_word_verified(bench: Bench) -> None:
    fetch(bench)
    (bench.shelf.folder / ".hashed.json").write_text("[", encoding="utf-8")
    assert state(bench) == "unverified"
    assert len(resolve_weights(bench.engine(), None, models_dir=bench.models_dir)) == 1


def test_a_file_that_other_weights_have_is_not_fetched_again(bench: Bench, shop: Shop) -> None:
    fetch(bench)
    shop.asked.clear()
    fetch(bench, "large")
    assert [path for path, _ in shop.asked] == ["/own"]
    assert (state(bench), state(bench, "large")) == ("verified", "verified")


def test_removing_weights_keeps_what_others_need(bench: Bench) -> None:
    fetch(bench)
    fetch(bench, "large")
    others = read_catalogue(bench.engine()).weights
    assert remove_weights(bench.weights("large"), shelf=bench.shelf, others=others) == ("own",)
    assert (state(bench), state(bench, "large")) == ("verified", "missing")
    assert remove_weights(bench.weights(), shelf=bench.shelf, others=others) == ("parts/shared",)
    assert not bench.shelf.path("parts").exists()
    assert {path.name for path in bench.shelf.folder.iterdir()} == {".lock", ".hashed.json"}


@pytest.mark.parametrize(
    ("catalogue", "said"),
    [
        ("[[weights]", "not a valid catalogue"),
        (entry("small", file_entry("../up", "https://example.org/x")), "not a valid catalogue"),
        (entry("small", file_entry("x", "https://example.org/x")), "lacks the weights large"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_its_reason(bench: Bench, catalogue: str, said: str) -> None:
    bench.write(catalogue)
    error = resolving(bench)
    assert error.code is ErrorCode.ENGINE_UNAVAILABLE
    assert said in error.detail
