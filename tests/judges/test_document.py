"""docs/judges.md and .ci/run say what is here: every test that is named exists, every judge is installed."""

import re
from pathlib import Path

from tests.judges.programs import PACKAGES
from tests.judges.report import BEGIN, END

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "judges.md").read_text(encoding="utf-8")


def test_every_rule_has_tests_that_exist() -> None:
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))
    assert len(named) > 20
    assert named <= tests, named - tests


def test_the_document_names_every_judge_and_holds_a_report() -> None:
    report = DOCUMENT.partition(BEGIN)[2].partition(END)[0]
    assert all(f"`{program}`" in report for program in PACKAGES)
    assert "**" not in report.partition("### Files that were cut")[0], "a judge differs from the contract"


def test_continuous_integration_installs_every_judge() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (line,) = re.findall(r'^JUDGES="(.*)"$', script, flags=re.MULTILINE)
    assert line.split() == sorted(set(PACKAGES.values()))
