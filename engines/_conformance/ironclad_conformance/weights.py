"""What must hold of an engine's weights: nothing is done with files that are not what the request says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ironclad_conformance.setting import EngineUnderTest, describe_file
from ironclad_conformance.worker import run

Damage = Callable[[Path], None]


def _remove(path: Path) -> None:
    path.unlink()


def _flip(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    """Drop the last byte, as a broken download does."""
    path.write_bytes(path.read_bytes()[:-1])


class WeightsConformance(EngineUnderTest):
    """The tests of weights. An engine without any is given a file that it has no use for: same rule."""

    @pytest.mark.parametrize(
        ("damage", "code"),
        [
            pytest.param(_remove, "model_missing", id="missing"),
            pytest.param(_flip, "model_damaged", id="flipped bit"),
            pytest.param(_cut, "model_damaged", id="cut off"),
        ],
    )
    def test_weights_that_are_not_what_they_must_be_fail_without_output(
        self, tmp_path: Path, damage: Damage, code: str
    ) -> None:
        for number, file in enumerate(self._files or (self._describe_useless(tmp_path / "useless"),)):
            copy = tmp_path / f"weights-{number}"
            copy.write_bytes(Path(file["path"]).read_bytes())
            damage(copy)
            self._assert_refused(tmp_path / f"work-{number}", file={**file, "path": str(copy)}, code=code)

    def _describe_useless(self, path: Path) -> dict[str, Any]:
        path.write_bytes(b"no weights")
        return describe_file("useless", path=path)

    def _assert_refused(self, folder: Path, *, file: dict[str, Any], code: str) -> None:
        work = self.prepare(folder, seconds=1.0)
        others = [each for each in self._files if each["name"] != file["name"]]
        work.change_request(model_files=[*others, file])
        assert run(work).status == 1
        result = work.result()
        assert result is not None
        assert result["failure"]["code"] == code
        assert file["name"] in result["failure"]["detail"]
        assert {path.name for path in work.output.iterdir()} == {"result.json"}
