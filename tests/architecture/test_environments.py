"""The environments: complete, pinned, and free of any registry's address."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints"
PIN = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*)==([0-9][0-9a-z.]*)")
ADDRESSES = tuple(
    "".join(parts) for parts in (("pypi", ".org"), ("python", "hosted"), ("index", "-url"), ("find", "-links"))
)


def _pins(name: str) -> dict[str, str]:
    lines = [line for line in (CONSTRAINTS / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    matches = [PIN.fullmatch(line) for line in lines]
    assert all(matches), [line for line, match in zip(lines, matches, strict=True) if not match]
    return {match[1]: match[2] for match in matches if match}


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(path.name for path in CONSTRAINTS.glob("*.txt")))
def test_every_line_pins_one_version_and_the_names_are_sorted(name: str) -> None:
    assert list(_pins(name)) == sorted(_pins(name))


def test_the_pins_meet_what_the_project_asks_for(project: dict[str, dict]) -> None:
    core, dev = _pins("core.txt"), _pins("dev.txt")
    asked = [
        *((core, text) for text in project["project"]["dependencies"]),
        *((dev, text) for text in project["project"]["optional-dependencies"]["dev"]),
        *((_pins("analysis.txt"), text) for text in project["project"]["optional-dependencies"]["analysis"]),
        *((_pins("build.txt"), text) for text in project["build-system"]["requires"]),
    ]
    for pins, text in asked:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is missing from constraints/"
        assert requirement.specifier.contains(pins[name]), f"{text} is not met by {pins[name]}"
    assert core.keys() & dev.keys() == set(), "pinned twice"


def test_the_tree_names_no_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        text = path.read_bytes()
        found = [address for address in ADDRESSES if address.encode() in text]
        assert not found, f"{name} names {found}"
