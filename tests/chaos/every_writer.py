"""All writers that are killed and failed at their system calls, by the name of what they write."""

from tests.chaos.copying_writers import COPY_WRITERS
from tests.chaos.writers import SONG_WRITERS

WRITERS = {**SONG_WRITERS, **COPY_WRITERS}
