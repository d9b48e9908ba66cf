"""What the tests of artifacts in a bucket share: an artifact of two files, and what a reader sees of it."""

from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.errors import PermanentFailure
from ironclad_assets.storage.artifacts import Artifact, Envelope, load_artifact, persist_artifact
from ironclad_assets.storage.store import StageFolder, Store

OLD, NEW, OTHER = "0" * 64, "1" * 64, "2" * 64
"""Keys of three artifacts."""

STAGE, SONG = "song_metadata", "s1"


def folder_of(store: Store) -> StageFolder:
    return store.stage(STAGE, SONG)


def persist(store: Store, key: str, *, attempt: int = 1, content: str = "", heed=lambda: None):
    """Store the artifact of `key`; every byte of its files says whose they are."""
    folder = folder_of(store)
    work = folder.work(key)
    for name in ("a.bin", "sub/b.bin"):
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_bytes(f"{name} of {key} {content}".encode() * 20)
    envelope = Envelope(STAGE, SONG, f"job-{attempt}", "local", "trace", attempt, f"run-{attempt}", "1")
    payload = SongMetadata(title=f"{key} {content}")
    return persist_artifact(folder, payload, key=key, checks=(), inputs={}, envelope=envelope, heed=heed)


def see(store: Store) -> str | None:
    """Return the key of the artifact that the store's machine reads, whole; None where there is none."""
    try:
        found: Artifact[SongMetadata] = load_artifact(folder_of(store), SongMetadata)
    except PermanentFailure as error:
        if error.code.name == "ARTIFACT_MISSING":
            return None
        raise
    assert found.payload.title is not None
    said = found.payload.title.encode()
    for name in ("a.bin", "sub/b.bin"):
        assert (found.folder / name).read_bytes() == (f"{name} of ".encode() + said) * 20, "a mixture"
    return found.key
