"""The rules of style that a linter does not know: charters, sizes, absolute imports, empty packages."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    path
    for folder in ("ironclad_assets", "engines")
    for path in (ROOT / folder).rglob("*.py")
    if "tests" not in path.relative_to(ROOT).parts
)
LONGEST_MODULE = 350
LONGEST_BODY = 45
ALL_MODULES = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@ALL_MODULES
def test_every_module_opens_with_its_charter(path: Path) -> None:
    charter = ast.get_docstring(_tree(path))
    assert charter
    if path.name == "__init__.py":
        assert len(_tree(path).body) == 1, "an __init__.py holds one docstring and nothing else"
    else:
        assert len(charter.split()) >= 8, "say what the module holds and what belongs elsewhere"


@ALL_MODULES
def test_modules_and_functions_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= LONGEST_BODY, f"{node.name} has {lines} lines beside signature and docstring"


@ALL_MODULES
def test_imports_are_absolute_and_name_what_they_take(path: Path) -> None:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            assert all(alias.name != "*" for alias in node.names), f"line {node.lineno}: import *"


@ALL_MODULES
def test_no_module_is_a_drawer_for_everything(path: Path) -> None:
    assert path.stem not in ("utils", "util", "helpers", "helper", "common", "misc")
