"""What the store needs of an object store: the interface, and the words that it answers with.

`storage/s3.py` speaks to S3; tests may bring their own. Everything here is about single objects with a key below
one prefix; which of them make an artifact is the business of `storage/mirror.py`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stored:
    """One file or object: path relative to the root, size in bytes, time of its last change in Unix seconds."""

    path: str
    size_bytes: int
    modified_at: float
