"""The documents say what the code says: error codes, commands of the Makefile, words, decision records."""

import re
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import STAGES, JobState
from ironclad_assets.errors import ErrorCode

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ADRS = sorted((DOCS / "adr").glob("[0-9]*.md"))


def test_the_error_codes_are_listed_as_the_code_has_them() -> None:
    """CAT-002: the enum of error codes is published with reason and remedy."""
    lines = [line for line in (DOCS / "errors.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    expected = [
        f"| `{code.code}` | {code.facts.reason} | {code.facts.remedy} | {code.facts.http_status} "
        f"| {'no' if code.facts.permanent else 'yes'} |"
        for code in ErrorCode
    ]
    assert lines == expected


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        text = path.read_text(encoding="utf-8")
        commands = re.findall(r"(?:`|^)make ((?:[a-z-]+ ?)+)", text, flags=re.MULTILINE)
        mentioned = {target for command in commands for target in command.split()}
        assert mentioned <= targets, f"{path.name}: {mentioned - targets}"


def test_the_glossary_explains_every_stage_and_state() -> None:
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    for word in (*STAGES, *(state.value for state in JobState)):
        assert f"`{word}`" in text, word


def test_links_between_documents_lead_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", ADRS, ids=lambda path: path.stem)
def test_a_decision_record_has_its_parts_on_one_page(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for heading in ("## Context", "## Decision", "## Consequences"):
        assert heading in text
    assert re.match(rf"# {int(path.name[:4])}\. ", text)
    assert len(text.splitlines()) <= 70


def test_decision_records_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in ADRS] == list(range(1, len(ADRS) + 1))
    assert ADRS
