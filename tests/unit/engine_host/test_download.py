"""Downloads over real sockets: cut, slow, moved, changed, too long, through proxies, from mirrors."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ironclad_assets.engine_host import download
from ironclad_assets.engine_host.download import Patience, Wanted, fetch
from ironclad_assets.engine_host.listening import SilentListener
from ironclad_assets.errors import ErrorCode, IroncladError, failure
from tests.unit.engine_host.shop import HASTY, Goods, Shop, open_shop

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def shop() -> Iterator[Shop]:
    with open_shop() as shop:
        yield shop


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    return tmp_path / ".weights.part"


def expect(content: bytes) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        if path.read_bytes() != content:
            raise failure(ErrorCode.MODEL_DAMAGED, "is not the file")

    return check


def bring(
    partial: Path,
    *urls: str,
    content: bytes = CONTENT,
    trusted: bool = False,
    size_bytes: int | None = None,
    patience: Patience = HASTY,
) -> str:
    wanted = Wanted(urls=urls, partial=partial, size_bytes=size_bytes, trusted=trusted, check=expect(content))
    return fetch(wanted, listener=SilentListener(), patience=patience)


def test_a_file_arrives_whole(shop: Shop, partial: Path) -> None:
    shop.goods["/w"] = Goods(CONTENT)
    assert bring(partial, f"{shop.url}/w") == f"{shop.url}/w"
    assert partial.read_bytes() == CONTENT
    assert [path.name for path in partial.parent.iterdir()] == [partial.name]


def test_a_file_of_unknown_length_arrives_whole(shop: Shop, partial: Path) -> None:
    shop.goods["/w"] = Goods(CONTENT, says_length=False)
    bring(partial, f"{shop.url}/w")
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize("trusted", [False, True])
def test_a_cut_connection_is_taken_up_where_it_ended(shop: Shop, partial: Path, trusted: bool) -> None:
    shop.goods["/w"] = Goods(CONTENT, cuts=[300_000, 200_000, 1])
    bring(partial, f"{shop.url}/w", trusted=trusted)
    assert shop.ranges() == [None, "bytes=300000-", "bytes=500000-", "bytes=500001-"]
    assert shop.asked[1][1]["If-Range"] == '"one"'
    assert partial.read_bytes() == CONTENT


def test_what_arrived_before_a_failure_is_used_by_the_next_command(shop: Shop, partial: Path) -> None:
    shop.goods["/w"] = Goods(CONTENT, cuts=[400_000], statuses=[])
    shop.goods["/w"].cuts += [0, 0]
    with pytest.raises(IroncladError) as caught:
        bring(partial, f"{shop.url}/w")
    assert caught.value.code is ErrorCode.DOWNLOAD_FAILED
    assert partial.stat().st_size == 400_000
    shop.asked.clear()
    bring(partial, f"{shop.url}/w")
    assert shop.ranges() == ["bytes=400000-"]
    assert partial.read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(shop: Shop, partial: Path) -> None:
    shop.goods["/w"] = Goods(b"old" * 1000, cuts=[1000, 0, 0])
    with pytest.raises(IroncladError):
        bring(partial, f"{shop.url}/w")
    shop.goods["/w"] = Goods(CONTENT, etag='"two"')
    bring(partial, f"{shop.url}/w")
    assert partial.read_bytes() == CONTENT


def test_a_server_without_ranges_or_validators_sends_it_all_again(shop: Shop, partial: Path) -> None:
    shop.goods["/w"] = Goods(CONTENT, cuts=[1000], ranges=False, etag=None)
    bring(partial, f"{shop.url}/w")
    assert shop.ranges() == [None, None]
    assert partial.read_bytes() == CONTENT


def test_bytes_of_one_server_are_continued_at_another_only_if_the_hash_is_known(shop: Shop, partial: Path) -> None:
    shop.goods["/a"] = Goods(CONTENT, cuts=[1000, 0, 0])
    shop.goods["/b"] = Goods(CONTENT)
    bring(partial, f"{shop.url}/a", f"{shop.url}/b", trusted=True)
    assert shop.ranges()[-1] == "bytes=1000-"
    partial.unlink()
    shop.goods["/a"] = Goods(CONTENT, cuts=[1000, 0, 0])
    bring(partial, f"{shop.url}/a", f"{shop.url}/b", trusted=False)
    assert shop.ranges()[-1] is None


def test_a_wrong_beginning_is_not_believed_twice(shop: Shop, partial: Path) -> None:
    partial.write_bytes(b"x" * 1000)
    shop.goods["/w"] = Goods(CONTENT)
    bring(partial, f"{shop.url}/w", trusted=True)
    assert shop.ranges() == ["bytes=1000-", None]
    assert partial.read_bytes() == CONTENT


def test_a_beginning_longer_than_the_file_is_dropped(shop: Shop, partial: Path) -> None:
    partial.write_bytes(b"x" * (len(CONTENT) + 5))
    shop.goods["/w"] = Goods(CONTENT)
    bring(partial, f"{shop.url}/w", trusted=True)
    assert partial.read_bytes() == CONTENT


def test_every_address_and_its_reason_is_named(shop: Shop, partial: Path) -> None:
    shop.goods["/broken"] = Goods(status=500)
    with pytest.raises(IroncladError) as caught:
        bring(partial, f"{shop.url}/none", f"{shop.url}/broken", "http://127.0.0.1:9/closed")
    assert caught.value.code is ErrorCode.DOWNLOAD_FAILED
    for said in (f"{shop.url}/none: HTTP 404", f"{shop.url}/broken: HTTP 500", "127.0.0.1:9/closed: ", "refused"):
        assert said in caught.value.detail


def test_the_next_address_is_tried_after_a_missing_and_after_a_wrong_file(shop: Shop, partial: Path) -> None:
    shop.goods["/wrong"] = Goods(b"wrong")
    shop.goods["/w"] = Goods(CONTENT)
    origin = bring(partial, f"{shop.url}/none", f"{shop.url}/wrong", f"{shop.url}/w", trusted=True)
    assert origin == f"{shop.url}/w"
    assert partial.read_bytes() == CONTENT


def test_a_wrong_file_is_damage_and_leaves_nothing(shop: Shop, partial: Path) -> None:
    shop.goods["/w"] = Goods(b"wrong")
    with pytest.raises(IroncladError) as caught:
        bring(partial, f"{shop.url}/w")
    assert caught.value.code is ErrorCode.MODEL_DAMAGED
    assert list(partial.parent.iterdir()) == []


def test_a_busy_server_is_asked_again(shop: Shop, partial: Path) -> None:
    shop.goods["/w"] = Goods(CONTENT, statuses=[503])
    bring(partial, f"{shop.url}/w")
    assert len(shop.asked) == 2


@pytest.mark.parametrize("says_length", [True, False])
def test_more_than_the_known_size_is_refused(shop: Shop, partial: Path, says_length: bool) -> None:
    shop.goods["/w"] = Goods(CONTENT, says_length=says_length)
    with pytest.raises(IroncladError, match=r"has 1048576 bytes, not 1000|more than the 1000 bytes"):
        bring(partial, f"{shop.url}/w", size_bytes=1000)
    assert not partial.exists() or partial.stat().st_size == 0


def test_a_trickle_is_a_stall(shop: Shop, partial: Path) -> None:
    shop.goods["/w"] = Goods(CONTENT, trickle_s=0.02)
    with pytest.raises(IroncladError, match=r"it brought \d+ bytes in 0 s"):
        bring(
            partial,
            f"{shop.url}/w",
            patience=Patience(timeout_s=5.0, attempts=0, backoff_s=0.0, window_s=0.2, slowest_bytes=10_000),
        )


def test_silence_times_out(shop: Shop, partial: Path) -> None:
    shop.goods["/w"] = Goods(CONTENT, pause_s=0.6)
    with pytest.raises(IroncladError, match="timed out"):
        bring(partial, f"{shop.url}/w", patience=Patience(timeout_s=0.2, attempts=1, backoff_s=0.0))


def test_a_redirect_is_followed_within_its_server_and_not_to_plain_http_elsewhere(shop: Shop, partial: Path) -> None:
    shop.goods["/moved"] = Goods(location=f"{shop.url}/w")
    shop.goods["/w"] = Goods(CONTENT)
    assert bring(partial, f"{shop.url}/moved") == f"{shop.url}/moved"
    shop.goods["/away"] = Goods(location="http://localhost:9/w")
    with pytest.raises(IroncladError, match="redirects to http://localhost:9/w, which is not HTTPS"):
        bring(partial.with_name("other"), f"{shop.url}/away")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/w", "file:///etc/passwd"])
def test_only_http_is_fetched(partial: Path, url: str) -> None:
    with pytest.raises(IroncladError, match="only http and https"):
        bring(partial, url)


def test_a_proxy_named_by_the_usual_variable_is_used(
    shop: Shop, partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", shop.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    shop.goods["/w"] = Goods(CONTENT)
    bring(partial, "http://weights.invalid/w")
    assert shop.asked[0][0] == "http://weights.invalid/w"


def test_a_full_disk_is_told_before_anything_is_written(
    shop: Shop, partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "free_bytes", lambda folder: len(CONTENT))
    shop.goods["/w"] = Goods(CONTENT)
    with pytest.raises(IroncladError) as caught:
        bring(partial, f"{shop.url}/w")
    assert caught.value.code is ErrorCode.STORAGE_FULL
    assert not partial.exists()


def test_what_runs_jobs_cannot_download() -> None:
    """Downloads are the operator's, before any job: the graph does not even have the code for them in memory."""
    script = (
        "import sys, ironclad_assets.definitions; "
        "print([name for name in sys.modules if name.startswith('ironclad_assets.engine_host.') "
        "and name.rsplit('.')[-1] in ('download', 'web', 'fetching', 'importing', 'bundle', 'installing')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[]\n"
