"""The reference pages equal the code they are made from (DOCS-001)."""

from pathlib import Path

import pytest

from ironclad_assets.cli.reference import main, make_commands_page, make_errors_page
from ironclad_assets.errors import ErrorCode

DOCS = Path(__file__).resolve().parents[2] / "docs"
REMEDY = "run `python -m ironclad_assets.cli.reference docs`"


@pytest.mark.parametrize(("name", "make"), [("errors.md", make_errors_page), ("commands.md", make_commands_page)])
def test_a_reference_page_is_up_to_date(name: str, make: object) -> None:
    assert callable(make)
    assert (DOCS / name).read_text(encoding="utf-8") == make(), REMEDY


def test_both_pages_are_written_by_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["reference", str(tmp_path)])
    main()
    assert (tmp_path / "errors.md").read_text(encoding="utf-8") == make_errors_page()
    assert (tmp_path / "commands.md").read_text(encoding="utf-8") == make_commands_page()


def test_every_code_has_reason_remedy_and_a_status() -> None:
    """CAT-002."""
    page = make_errors_page()
    for code in ErrorCode:
        assert f"| `{code.code}` |" in page
        assert code.facts.reason
        assert code.facts.remedy
        assert 400 <= code.facts.http_status <= 599
        assert ErrorCode.from_code(code.code) is code


def test_no_two_codes_are_the_same_thing() -> None:
    """An Enum makes members with equal values one: a code that says what another says would vanish."""
    assert len(list(ErrorCode)) == len(ErrorCode.__members__)


def test_a_code_nobody_published_is_internal() -> None:
    assert ErrorCode.from_code("nonsense") is ErrorCode.INTERNAL
