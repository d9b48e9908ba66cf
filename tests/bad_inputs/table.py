"""The shape of the table of bad inputs: rows with a number, the cases of each, and what they are answered.

The rows themselves are in `content`, `tags`, `names` and `folder`; `rows` puts them together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ironclad_assets.errors import ErrorCode
from tests.bad_inputs.gate import VALIDATE

Make = Callable[[Path], object]
"""Writes an input at the path that it is given."""


@dataclass(frozen=True, slots=True)
class Case:
    """One input that is dropped into the upload folder.

    Attributes:
        name: of the file; bytes where it is no text.
        make: writes it.
        code: it is refused with this one; None: it is accepted.
        says: regular expression found in the refusal's detail, or in one of the warnings of what was accepted; an
            empty one means for what was accepted that there are no warnings.
        stages: how far it goes.
        silent: whether what was accepted is flagged as silent.
        heavy: whether it runs only with more time at hand (make chaos).
    """

    name: str | bytes
    make: Make
    code: ErrorCode | None = None
    says: str = ""
    stages: tuple[str, ...] = VALIDATE
    silent: bool = False
    heavy: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        number: its number; never given to another row.
        text: the input, in a few words.
        answer: what happens, in plain words.
        status: HTTP status of its refusal; None where nothing is refused.
        cases: inputs of this row that pass the gate.
        proof: names of tests that prove the row, or the rest of it, where a case cannot.
        later: what of it waits for the HTTP API, and why nothing here can show it; empty: nothing does.
    """

    number: int
    text: str
    answer: str
    status: int | None = None
    cases: tuple[Case, ...] = ()
    proof: tuple[str, ...] = ()
    later: str = ""
    codes: tuple[ErrorCode, ...] = ()
    """Codes that the proofs, rather than cases, show."""

    @property
    def all_codes(self) -> tuple[ErrorCode, ...]:
        """Return the codes that the row's inputs are refused with, each once."""
        return tuple(dict.fromkeys([case.code for case in self.cases if case.code is not None] + list(self.codes)))
