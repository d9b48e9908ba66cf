"""Weights from files that the operator has, and from bundles: whole, checked, never believed too easily."""

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ironclad_assets.contracts.v1.models import Bundle, StoredWeights
from ironclad_assets.engine_host.bundle import INDEX_NAME, export_bundle, import_bundle, is_bundle
from ironclad_assets.engine_host.fetching import fetch_weights
from ironclad_assets.engine_host.importing import import_files
from ironclad_assets.engine_host.listening import SilentListener
from ironclad_assets.engine_host.models import find_state, resolve_weights
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

WEIGHTS = b"a network" * 1000
MEMBERS = {"checkpoint": b"model", "model.data": b"d" * 5000}
ARCHIVE = make_archive(MEMBERS)
URL = "https://weights.invalid"
SMALL = file_entry("small.th", f"{URL}/small.th")
LARGE = file_entry(
    "large.tar.gz", f"{URL}/large.tar.gz", more='unpack = "large"\nmembers = ["checkpoint", "model.data"]'
)
TEXT = 'text = { "small.yaml" = "models" }'


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with open_shop() as shop:
        shop.goods["/m/fake/small.th"], shop.goods["/m/fake/large.tar.gz"] = Goods(WEIGHTS), Goods(ARCHIVE)
        yield shop


@pytest.fixture
def connected(tmp_path: Path, shop: Shop) -> Bench:
    """A machine with a network, and all weights fetched."""
    bench = make_bench(tmp_path / "connected")
    for model in ("small", "large"):
        fetch_weights(
            bench.engine(),
            weights=bench.weights(model),
            shelf=bench.shelf,
            listener=SilentListener(),
            mirrors=(f"{shop.url}/m",),
            patience=HASTY,
        )
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A machine without network and without weights."""
    return make_bench(tmp_path / "alone")


def make_bench(root: Path, *, small: str = SMALL, more: str = "") -> Bench:
    bench = Bench(root)
    bench.write(entry("small", small, more=f"{TEXT}\n{more}") + entry("large", LARGE))
    return bench


def export(bench: Bench, path: Path, *models: str) -> Bundle:
    chosen = [(bench.engine(), bench.weights(model)) for model in models]
    return export_bundle(path, chosen=chosen, models_dir=bench.models_dir, listener=SilentListener())


def take(bench: Bench, path: Path) -> tuple[StoredWeights, ...]:
    return import_bundle(
        path,
        engines={"fake": bench.engine()},
        models_dir=bench.models_dir,
        agree=lambda weights, shelf: None,
        listener=SilentListener(),
    )


def take_files(bench: Bench, *sources: Path, model: str = "small") -> StoredWeights:
    return import_files(
        bench.engine(),
        weights=bench.weights(model),
        shelf=bench.shelf,
        sources=sources,
        listener=SilentListener(),
    )


def provenances(record: StoredWeights) -> dict[str, str]:
    return {file.name: file.provenance for file in record.files}


def rewrite(path: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]) -> None:
    """Write the bundle again with each member as `change` makes it."""
    members = []
    with tarfile.open(path) as tar:
        for info in tar:
            source = tar.extractfile(info)
            made = change(info, b"" if source is None else source.read())
            if made is not None:
                members.append(made)
    with tarfile.open(path, "w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


# Bundles


def test_a_bundle_carries_weights_to_a_machine_without_network(connected: Bench, bench: Bench, tmp_path: Path) -> None:
    bundle = tmp_path / "weights.tar"
    export(connected, bundle, "small", "large")
    assert is_bundle(bundle)
    small, large = take(bench, bundle)
    assert provenances(small) == {"small.yaml": "published", "small.th": "imported"}
    assert provenances(large) == {"large/checkpoint": "imported", "large/model.data": "imported"}
    for model in ("small", "large"):
        here = {file.name: file.sha256 for file in resolve_weights(bench.engine(), model, models_dir=bench.models_dir)}
        there = resolve_weights(connected.engine(), model, models_dir=connected.models_dir)
        assert here == {file.name: file.sha256 for file in there}
        assert find_state(bench.weights(model), shelf=bench.shelf).state == "verified"
    assert bench.shelf.path("small.th").read_bytes() == WEIGHTS
    assert large.archives[0].sha256 == sha256(ARCHIVE)


def test_the_same_weights_give_the_same_bundle(connected: Bench, tmp_path: Path) -> None:
    export(connected, tmp_path / "one.tar", "small", "large")
    export(connected, tmp_path / "two.tar", "small", "large")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_bundle_tells_its_licences_in_words(connected: Bench, tmp_path: Path) -> None:
    export(connected, tmp_path / "b.tar", "small")
    with tarfile.open(tmp_path / "b.tar") as tar:
        source = tar.extractfile("LICENCES.txt")
        assert source is not None
        assert "fake small" in source.read().decode()


def test_damaged_weights_are_not_exported(connected: Bench, tmp_path: Path) -> None:
    connected.shelf.path("small.th").write_bytes(b"A" + WEIGHTS[1:])
    with pytest.raises(IroncladError) as caught:
        export(connected, tmp_path / "b.tar", "small")
    assert caught.value.code is ErrorCode.MODEL_DAMAGED
    assert list(tmp_path.glob("*.tar")) == []


def test_weights_that_are_not_here_are_not_exported(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(IroncladError) as caught:
        export(bench, tmp_path / "b.tar", "small")
    assert caught.value.code is ErrorCode.MODEL_MISSING


def swap_bytes(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return info, b"X" + content[1:] if info.name.endswith(".th") else content


def drop_weights(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes] | None:
    return None if info.name.endswith(".th") else (info, content)


def make_link(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if info.name.endswith(".th"):
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        return info, b""
    return info, content


def lengthen(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return info, content + b"x" if info.name.endswith(".th") else content


def spoil_index(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return info, b"{}" if info.name == INDEX_NAME else content


def climb_out(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return info, content.replace(b'"small.th"', b'"../../up"') if info.name == INDEX_NAME else content


@pytest.mark.parametrize("change", [swap_bytes, drop_weights, make_link, lengthen, spoil_index, climb_out])
def test_a_bundle_that_was_tampered_with_leaves_nothing(
    connected: Bench,
    bench: Bench,
    tmp_path: Path,
    change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None],
) -> None:
    bundle = tmp_path / "weights.tar"
    export(connected, bundle, "small")
    rewrite(bundle, change)
    with pytest.raises(IroncladError) as caught:
        take(bench, bundle)
    assert caught.value.code is ErrorCode.MODEL_DAMAGED
    assert not bench.shelf.path("small.th").exists()
    assert not bench.shelf.record_path("small").exists()
    assert not list(tmp_path.rglob("up"))


def test_a_member_that_leads_outside_is_never_looked_at(connected: Bench, bench: Bench, tmp_path: Path) -> None:
    bundle = tmp_path / "weights.tar"
    export(connected, bundle, "small")
    with tarfile.open(bundle, "a") as tar:
        info = tarfile.TarInfo("../../evil")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    take(bench, bundle)
    assert not list(tmp_path.rglob("evil"))


def test_a_bundle_cut_off_is_damaged(connected: Bench, bench: Bench, tmp_path: Path) -> None:
    bundle = tmp_path / "weights.tar"
    export(connected, bundle, "small")
    bundle.write_bytes(bundle.read_bytes()[:6000])
    with pytest.raises(IroncladError) as caught:
        take(bench, bundle)
    assert caught.value.code is ErrorCode.MODEL_DAMAGED


def test_a_bundle_cannot_contradict_a_published_hash(connected: Bench, tmp_path: Path) -> None:
    export(connected, tmp_path / "b.tar", "small")
    published = file_entry("small.th", f"{URL}/small.th", more=f'sha256 = "{sha256(b"the true one")}"')
    bench = make_bench(tmp_path / "alone", small=published)
    with pytest.raises(IroncladError, match="as published"):
        take(bench, tmp_path / "b.tar")


def test_a_bundle_that_meets_a_published_hash_is_as_good_as_fetched(connected: Bench, tmp_path: Path) -> None:
    export(connected, tmp_path / "b.tar", "small")
    published = file_entry("small.th", f"{URL}/small.th", more=f'sha256 = "{sha256(WEIGHTS)}"')
    bench = make_bench(tmp_path / "alone", small=published)
    assert provenances(take(bench, tmp_path / "b.tar")[0])["small.th"] == "published"


def test_a_bundle_cannot_replace_what_was_pinned_here(connected: Bench, bench: Bench, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "small.th"
    mine.parent.mkdir()
    mine.write_bytes(b"M" * len(WEIGHTS))
    take_files(bench, mine)
    export(connected, tmp_path / "b.tar", "small")
    with pytest.raises(IroncladError, match="pinned here"):
        take(bench, tmp_path / "b.tar")
    assert bench.shelf.path("small.th").read_bytes() == mine.read_bytes()


def test_a_bundle_cannot_say_what_an_archive_must_be_that_was_pinned_here(connected: Bench, tmp_path: Path) -> None:
    pinned = connected.shelf.record("large")
    assert pinned is not None
    path = tmp_path / "weights.tar"
    export(connected, path, "large")
    archive_sha256 = pinned.archives[0].sha256.encode()

    def forge(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return info, content.replace(archive_sha256, b"0" * 64)

    rewrite(path, forge)
    (record,) = take(connected, path)
    assert record.archives == pinned.archives


def test_weights_of_an_engine_that_is_not_here_are_refused(connected: Bench, bench: Bench, tmp_path: Path) -> None:
    export(connected, tmp_path / "b.tar", "small")
    with pytest.raises(IroncladError) as caught:
        import_bundle(
            tmp_path / "b.tar",
            engines={},
            models_dir=bench.models_dir,
            agree=lambda weights, shelf: None,
            listener=SilentListener(),
        )
    assert caught.value.code is ErrorCode.UNKNOWN_ENGINE


def test_a_bundle_needs_the_same_consent_as_a_fetch(connected: Bench, tmp_path: Path) -> None:
    export(connected, tmp_path / "b.tar", "small")
    bench = make_bench(tmp_path / "alone", more="consent = true")
    with pytest.raises(IroncladError) as caught:
        take(bench, tmp_path / "b.tar")
    assert caught.value.code is ErrorCode.MODEL_LICENCE
    bench.agree()
    take(bench, tmp_path / "b.tar")


@pytest.mark.parametrize("content", [b"", b"not a tar", ARCHIVE])
def test_other_files_are_no_bundles(bench: Bench, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert not is_bundle(path)
    with pytest.raises(IroncladError) as caught:
        take(bench, path)
    assert caught.value.code is ErrorCode.MODEL_DAMAGED


# Files


def test_a_folder_with_the_file_somewhere_in_it_is_enough(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "cache" / "deep" / "small.th"
    source.parent.mkdir(parents=True)
    source.write_bytes(WEIGHTS)
    record = take_files(bench, tmp_path / "cache")
    assert provenances(record) == {"small.yaml": "published", "small.th": "imported"}
    assert source.read_bytes() == WEIGHTS
    assert find_state(bench.weights(), shelf=bench.shelf).state == "verified"


def test_an_archive_or_its_unpacked_folder_is_taken(tmp_path: Path) -> None:
    archive = tmp_path / "large.tar.gz"
    archive.write_bytes(ARCHIVE)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    for name, content in MEMBERS.items():
        (unpacked / name).write_bytes(content)
    records = []
    for number, source in enumerate((archive, unpacked)):
        bench = make_bench(tmp_path / f"alone-{number}")
        records.append(take_files(bench, source, model="large"))
        assert bench.shelf.path("large/model.data").read_bytes() == MEMBERS["model.data"]
    assert {file.name: file.sha256 for file in records[0].files} == {
        file.name: file.sha256 for file in records[1].files
    }
    assert [len(record.archives) for record in records] == [1, 0]


def test_what_was_pinned_of_an_archive_stays_when_another_one_is_imported(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "alone")
    parts = [
        file_entry(f"{name}.tar.gz", f"{URL}/{name}.tar.gz", more=f'unpack = "{name}"\nmembers = ["model.data"]')
        for name in ("first", "second")
    ]
    bench.write(entry("small", "".join(parts)) + entry("large", LARGE))
    folder = tmp_path / "archives"
    folder.mkdir()
    for name in ("first", "second"):
        (folder / f"{name}.tar.gz").write_bytes(make_archive({"model.data": name.encode()}))
    whole = take_files(bench, folder)
    unpacked = tmp_path / "first" / "model.data"
    unpacked.parent.mkdir()
    unpacked.write_bytes(b"first")
    again = take_files(bench, unpacked, folder / "second.tar.gz")
    assert {one.name: one.sha256 for one in again.archives} == {one.name: one.sha256 for one in whole.archives}
    assert len(again.archives) == 2


def test_an_archive_whose_compression_is_broken_is_damage(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "alone")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:xz") as tar:
        info = tarfile.TarInfo("checkpoint")
        info.size = 300_000
        tar.addfile(info, io.BytesIO(np.random.default_rng(0).bytes(info.size)))
    broken = bytearray(content.getvalue())
    broken[-5000:-4900] = bytes(100)
    archive = tmp_path / "large.tar.gz"
    archive.write_bytes(broken)
    with pytest.raises(IroncladError, match=r"large\.tar\.gz") as caught:
        take_files(bench, archive, model="large")
    assert caught.value.code is ErrorCode.MODEL_DAMAGED


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (f'sha256 = "{sha256(b"other")}"', "as published"),
        ('sha256_prefix = "0000"', "begin with 0000"),
        ("size_bytes = 5", "not 5"),
    ],
)
def test_a_file_that_the_catalogue_denies_is_refused(tmp_path: Path, more: str, said: str) -> None:
    bench = make_bench(tmp_path / "alone", small=file_entry("small.th", f"{URL}/small.th", more=more))
    (tmp_path / "small.th").write_bytes(WEIGHTS)
    with pytest.raises(IroncladError, match=said) as caught:
        take_files(bench, tmp_path / "small.th")
    assert caught.value.code is ErrorCode.MODEL_DAMAGED
    assert not bench.shelf.path("small.th").exists()


def test_a_file_that_is_not_among_the_sources_is_named(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    for model, name in (("small", "small.th"), ("large", "large.tar.gz")):
        with pytest.raises(IroncladError, match=name) as caught:
            take_files(bench, tmp_path / "cache", model=model)
        assert caught.value.code is ErrorCode.MODEL_MISSING


def test_two_files_of_one_name_are_not_guessed_between(bench: Bench, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "cache" / folder).mkdir(parents=True)
        (tmp_path / "cache" / folder / "small.th").write_bytes(WEIGHTS)
    with pytest.raises(IroncladError, match="more than once"):
        take_files(bench, tmp_path / "cache")
