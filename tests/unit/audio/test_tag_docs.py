"""docs/tags.md says what the code says: the table of names, and the tests that it points to."""

import re
from pathlib import Path

from ironclad_assets.audio.tag_formats.mapping import FREE_ID3, FREE_MP4, MAPPINGS

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "tags.md").read_text(encoding="utf-8")


def cell(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names if name)


def test_the_table_of_names_is_the_one_that_is_used() -> None:
    """META-001"""
    expected = [
        f"| {cell(one.name)} | {cell(one.id3 or FREE_ID3 + one.name)} | {cell(one.mp4 or FREE_MP4 + one.name)} "
        f"| {cell(one.asf)} | {cell(one.info)} | {cell(*one.aliases)} |"
        for one in MAPPINGS
    ]
    names = TEXT.partition("## Names")[2].partition("What the columns")[0]
    assert [line for line in names.splitlines() if line.startswith("| `")] == expected


def test_every_test_that_proves_a_rule_exists() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_[a-z0-9_]+)`", TEXT)
    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in tests] == []
