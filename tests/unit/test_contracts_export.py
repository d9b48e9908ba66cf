"""The published schemas are those of the contracts: `python -m ironclad_assets.contracts.export` was run."""

import pytest

from ironclad_assets.contracts.export import PROTOCOL_FOLDER, SCHEMAS_FOLDER, main, schema_files


@pytest.mark.parametrize("path", schema_files(), ids=lambda path: f"{path.parent.parent.name}/{path.name}")
def test_the_schema_file_equals_its_contract(path) -> None:
    assert path.read_text(encoding="utf-8") == schema_files()[path]


@pytest.mark.parametrize("folder", [SCHEMAS_FOLDER, PROTOCOL_FOLDER], ids=str)
def test_there_is_no_schema_without_a_contract(folder) -> None:
    assert set(folder.glob("*.json")) <= set(schema_files())


def test_exporting_again_changes_nothing_and_removes_strays(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("ironclad_assets.contracts.export.SCHEMAS_FOLDER", tmp_path / "schemas" / "v1")
    monkeypatch.setattr("ironclad_assets.contracts.export.PROTOCOL_FOLDER", tmp_path / "protocol" / "v1")
    assert main() == 0
    stray = tmp_path / "schemas" / "v1" / "stray.json"
    stray.write_text("{}", encoding="utf-8")
    assert main() == 0
    assert not stray.exists()
    assert (tmp_path / "protocol" / "v1" / "engine_request.json").read_text(encoding="utf-8") == (
        PROTOCOL_FOLDER / "engine_request.json"
    ).read_text(encoding="utf-8")
