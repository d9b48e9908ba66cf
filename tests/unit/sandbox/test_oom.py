"""The kernel's counter of kills for want of memory, in both versions of control groups."""

from pathlib import Path

import pytest

from ironclad_assets.sandbox.oom import count_oom_kills

EVENTS = "low 0\nhigh 4\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"


@pytest.mark.parametrize(
    ("membership", "files", "count"),
    [
        ("0::/system.slice/ironclad.service\n", {"system.slice/ironclad.service/memory.events": EVENTS}, 2),
        ("0::/\n", {"memory.events": EVENTS}, 2),
        ("0::/seen/from/outside\n", {"memory.events": EVENTS}, 2),
        ("5:cpu:/a\n4:memory:/docker/abc\n0::/\n", {"memory/docker/abc/memory.oom_control": CONTROL}, 5),
        ("4:memory:/docker/abc\n0::/\n", {"memory/memory.oom_control": CONTROL}, 5),
        ("0::/a\n", {"a/memory.events": "oom_kill many\n"}, None),
        ("0::/a\n", {}, None),
    ],
)
def test_the_counter_is_found_wherever_it_is_mounted(
    tmp_path: Path, membership: str, files: dict[str, str], count: int | None
) -> None:
    (tmp_path / "cgroup").write_text(membership, encoding="ascii")
    for name, content in files.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")
    assert count_oom_kills(membership=tmp_path / "cgroup", mount=tmp_path / "mount") == count


def test_where_there_are_no_cgroups_nothing_is_known(tmp_path: Path) -> None:
    assert count_oom_kills(membership=tmp_path / "none", mount=tmp_path) is None


def test_this_machine_is_asked_without_harm() -> None:
    assert count_oom_kills() is None or count_oom_kills() >= 0
