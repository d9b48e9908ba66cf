"""All rows of the table of bad inputs, in order, and the page that shows them to users.

`python -m tests.bad_inputs.rows docs/bad-files.md` writes the page; a test keeps it equal.
"""

import sys
from pathlib import Path

from ironclad_assets.audio import sniff
from tests.bad_inputs import content, folder, names, tags
from tests.bad_inputs.table import Row

ROWS: tuple[Row, ...] = tuple(
    sorted((*content.ROWS, *tags.ROWS, *names.ROWS, *folder.ROWS), key=lambda row: row.number)
)
MOST_ROWS = 64

_PAGE = """# What happens to files that are no good songs

<!-- Made by `python -m tests.bad_inputs.rows docs/bad-files.md`; change the table there, not this file. -->

Files come from people, programs and strangers. Every input below is sent through the installation by the tests
(`tests/integration/test_bad_inputs.py` and its neighbours), and gets the answer that stands beside it. What a code
means, and what to do about it, is in [errors.md](errors.md).

Whatever a file holds, this is true, and is checked for each of them: the answer is a published code and a sentence
that names the reason; looking at the file costs less than 20 s of processor time and 512 MB of memory; nothing is
sent to any network; nothing is written outside the store; the job's history has one line for each step; the
next good song succeeds.

A file that was taken in and refused lies in `error/<song>/` as `original`, with the reason beside it in `error.json`.
That folder is for the pipeline's user alone. `pipelinectl retry` has the file looked at again, which makes sense after
a limit was raised.

A file's type is found by its first bytes, never by its name: {types}. Which of these a user may upload is a limit
(`pipelinectl limits set types wav,flac --user NAME`), and so are size and length. Nothing is ever unpacked. How malware
is found is in [antivirus.md](antivirus.md).

| # | input | answer | code |
|---|---|---|---|
{rows}

What waits for the HTTP API, because no door that exists now can show it:

{later}
"""


def make_page() -> str:
    """Return `docs/bad-files.md`."""
    lines = []
    for row in ROWS:
        codes = ", ".join(f"`{code.code}`" for code in row.all_codes)
        lines.append(f"| {row.number} | {_cell(row.text)} | {_cell(row.answer)} | {codes} |")
    later = [f"- {row.number}: {row.later}" for row in ROWS if row.later]
    kinds = sorted(kind.container for kind in sniff.KINDS)
    return _PAGE.format(types=", ".join(kinds), rows="\n".join(lines), later="\n".join(later))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(make_page(), encoding="utf-8")
