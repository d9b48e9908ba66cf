"""Where a model's published checkpoint lies, and what must be there before TensorFlow is asked for it.

TensorFlow's Estimator runs with random weights when it finds no checkpoint, so a folder is checked first.
Reading the checkpoint belongs to `extract` and `reference`.
"""

from pathlib import Path

from ironclad_harness.engine import EngineError

PREFIX = "model"
MEMBERS = ("checkpoint", f"{PREFIX}.data-00000-of-00001", f"{PREFIX}.index", f"{PREFIX}.meta")


def find_checkpoint(folder: Path) -> str:
    """Return the checkpoint in `folder` as TensorFlow names it.

    Raises:
        EngineError: ``model_missing``: not all of its files are there.
    """
    missing = [name for name in MEMBERS if not (folder / name).is_file()]
    if missing:
        raise EngineError("model_missing", f"{folder} lacks {', '.join(missing)}; fetch the model {folder.name} again")
    return str(folder / PREFIX)
