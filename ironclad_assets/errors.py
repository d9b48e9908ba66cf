"""The published error codes and the exceptions that carry them.

Every refusal or failure a user can meet has one member here with its reason, remedy and HTTP status;
`docs/errors.md` lists them and a test keeps the two equal. Nothing here knows where an error is shown.
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What the world is told about one error code."""

    reason: str
    remedy: str
    http_status: int
    permanent: bool = True
    """Whether running the same input with the same settings again is certain to fail again."""


class ErrorCode(Enum):
    """Published, stable error codes. The member's lower-case name is what users see; never rename one."""

    # What is wrong with the file
    EMPTY_FILE = CodeFacts("the file has no bytes", "upload the file again; the copy was cut off or empty", 422)
    NOT_AUDIO = CodeFacts(
        "the content is not audio of a supported type",
        "upload WAV, FLAC, MP3, Ogg, Opus, M4A, AIFF, WavPack or WMA",
        415,
    )
    NO_AUDIO = CodeFacts("the file holds no audio samples", "export the song again and upload that", 422)
    DAMAGED = CodeFacts(
        "the audio cannot be decoded as its header promises", "export the song again from its source", 422
    )
    TOO_SHORT = CodeFacts("the audio is shorter than the limit", "upload at least half a second of audio", 422)
    TOO_LONG = CodeFacts(
        "the audio is longer than the limit", "split the file, or ask the operator to raise the limit", 422
    )
    TOO_LARGE = CodeFacts(
        "the file is larger than the limit", "upload a compressed copy, or ask for a higher limit", 413
    )
    BAD_RATE = CodeFacts("the sample rate is outside 8,000..384,000 Hz", "resample to 44,100 or 48,000 Hz", 422)
    BAD_CHANNELS = CodeFacts("the channel count is outside 1..8", "upload mono, stereo or up to 7.1", 422)
    NON_FINITE = CodeFacts(
        "the audio holds NaN or infinite samples", "export the song again; a plug-in wrote invalid samples", 422
    )
    PROTECTED = CodeFacts("the file is encrypted (DRM)", "upload a copy without copy protection", 422)
    HARD_LINKED = CodeFacts("the file is a hard link to another file", "copy the file instead of linking it", 422)
    MALWARE = CodeFacts("the virus scanner found malware in the file", "do not open it; upload another copy", 422)
    PATH_REFUSED = CodeFacts(
        "files from that folder are not taken", "put the file into the upload folder, or ask the operator", 403
    )
    UNREADABLE = CodeFacts(
        "the file cannot be read",
        "see that it is there, a regular file, and readable by the pipeline's user",
        422,
        permanent=False,
    )

    # What is wrong with the request
    DUPLICATE = CodeFacts(
        "the same bytes were uploaded before", "see the existing song; use retry for another engine", 409
    )
    UNKNOWN_ENGINE = CodeFacts("no engine of that name is installed", "choose one from `pipelinectl engines list`", 422)
    UNKNOWN_MODEL = CodeFacts("the engine has no model of that name", "choose one from `pipelinectl engines list`", 422)
    UNKNOWN_TARGET = CodeFacts(
        "the engine cannot make that target", "choose from the stems of the engine, or instrumental", 422
    )
    UNKNOWN_FORMAT = CodeFacts("that output format is not supported", "choose flac, wav, mp3, m4a or opus", 422)
    UNKNOWN_SONG = CodeFacts("no song has that id", "choose one from `pipelinectl status`", 404)
    UNKNOWN_JOB = CodeFacts("no job has that id", "choose one from `pipelinectl status`", 404)
    BAD_USER = CodeFacts("the user name is not allowed", "use 1 to 64 of a-z, 0-9, hyphen and underscore", 422)
    UNKNOWN_USER = CodeFacts("there is no such user", "choose one from `pipelinectl users list`", 404)
    USER_DISABLED = CodeFacts("the user is disabled", "ask the operator", 403)
    TYPE_REFUSED = CodeFacts(
        "files of that type are not taken from this user", "upload one of the types that the message names", 415
    )
    TERMS_REQUIRED = CodeFacts(
        "the user has not accepted the current terms",
        "accept them with `pipelinectl terms accept`; work goes on by itself",
        451,
        permanent=False,
    )
    RATE_LIMITED = CodeFacts(
        "too many uploads in a short time", "wait as long as the message says, then try again", 429, permanent=False
    )
    DAILY_LIMIT = CodeFacts(
        "the limit of the last 24 hours is reached", "upload again later, or ask the operator for more", 429
    )
    UNKNOWN_RECEIPT = CodeFacts("no deletion has that receipt", "choose one from `pipelinectl receipts`", 404)
    DELETED = CodeFacts("the song was deleted", "upload it again", 410)
    BAD_OPTION = CodeFacts("an option has a value that is not allowed", "correct the value named in the message", 422)
    ILLEGAL_TRANSITION = CodeFacts(
        "the job's state does not allow that", "look at the job's state with `pipelinectl status`", 409
    )
    JOB_ACTIVE = CodeFacts("the song already has an active job", "wait for it, or cancel it first", 409)

    # What went wrong on the way
    PAUSED = CodeFacts("an operator paused this part", "wait, or run `pipelinectl resume`", 503, permanent=False)
    SCANNER_AWAY = CodeFacts(
        "the virus scanner does not answer", "start clamd; work goes on by itself", 503, permanent=False
    )
    BACKUP_DAMAGED = CodeFacts(
        "the backup is not what it was when it was made", "choose another from `pipelinectl backup list`", 500
    )
    BACKUP_INCOMPLETE = CodeFacts(
        "the backup was made, but lacks what could not be read",
        "see lost originals with `pipelinectl verify`; upload them again, or delete their songs; until then no older "
        "backup is removed",
        500,
    )
    UNKNOWN_BACKUP = CodeFacts("there is no such backup", "choose one from `pipelinectl backup list`", 404)
    BACKUP_LOCKED = CodeFacts(
        "the backup is encrypted", "name the key with --identity, or the passphrase's file with --passphrase-file", 403
    )
    HOME_IN_USE = CodeFacts(
        "the home or the store is not empty, or a restore into it is not done",
        "finish the restore that was begun, or restore into an empty one",
        409,
    )
    SWEEP_TOO_LARGE = CodeFacts(
        "a sweep would remove more than its share of the store",
        "see what was left with `pipelinectl prune --dry-run --confirm`; if it may go, run that without --dry-run",
        409,
    )
    CLOCK_DOUBTFUL = CodeFacts(
        "the clock of this machine does not fit the times in the ledger",
        "set the clock; if it is right, run the sweep again with --confirm",
        409,
        permanent=False,
    )
    CANCELED = CodeFacts("the job was canceled", "retry it when you want it after all", 409)
    LIMIT_CPU = CodeFacts("the work used more processor time than allowed", "the file is unusual: export it again", 422)
    LIMIT_MEMORY = CodeFacts("the work used more memory than allowed", "the file is unusual: export it again", 422)
    LIMIT_TIME = CodeFacts(
        "the work took longer than allowed", "retry when the machine is less busy", 504, permanent=False
    )
    LIMIT_DISK = CodeFacts(
        "the work wrote a larger file than allowed", "split the file, or ask the operator to raise the limit", 422
    )
    LIMIT_FILES = CodeFacts(
        "the work opened more files than allowed",
        "retry; if it happens again, ask the operator to raise the limit",
        500,
    )
    CONTRACT_INVALID = CodeFacts("an artifact does not meet its contract", "rematerialize the stage before it", 500)
    ARTIFACT_MISSING = CodeFacts("an artifact of an earlier stage is missing", "rematerialize the stage before it", 500)
    ARTIFACT_DAMAGED = CodeFacts("an artifact differs from its manifest", "rematerialize the stage it belongs to", 500)
    ARTIFACT_NEWER = CodeFacts("an artifact was written by a newer release", "upgrade this installation", 500)
    SUPERSEDED = CodeFacts(
        "another attempt stored its result first", "see the later attempt; nothing of it was overwritten", 409
    )
    ARTIFACT_REFUSED = CodeFacts("an artifact failed its checks", "see the failed check; rematerialize that stage", 422)
    QUOTA_EXCEEDED = CodeFacts("the user's storage quota is used up", "delete songs, or ask the operator for more", 507)
    STEMS_INVALID = CodeFacts("the stems failed their checks", "retry with another engine", 500)
    ENGINE_FAILED = CodeFacts(
        "the engine stopped with an error",
        "see the engine's log; retry, or choose another engine",
        500,
        permanent=False,
    )
    ENGINE_STALLED = CodeFacts(
        "the engine made no progress", "retry when the machine is less busy", 504, permanent=False
    )
    ENGINE_UNAVAILABLE = CodeFacts("the engine cannot run here", "see `pipelinectl engines list`", 503)
    DEVICE_UNAVAILABLE = CodeFacts(
        "the device that was asked for is not there",
        "see `pipelinectl engines doctor`; choose another device, or mend the driver",
        503,
    )
    MODEL_MISSING = CodeFacts(
        "the model's weights are not on this machine",
        "run `pipelinectl models fetch ENGINE MODEL`, or import a bundle",
        503,
    )
    MODEL_DAMAGED = CodeFacts(
        "a file of the model's weights is not what it must be",
        "run `pipelinectl models verify`, then fetch or import the model again; remove what others shall replace",
        503,
    )
    MODEL_LICENCE = CodeFacts(
        "the licence of the model's weights needs the operator's consent",
        "read it, then run `pipelinectl models fetch ENGINE MODEL --accept-licence`",
        451,
    )
    DOWNLOAD_FAILED = CodeFacts(
        "a download did not succeed",
        "see that the machine reaches the address named, directly or by HTTPS_PROXY; else import a bundle",
        502,
        permanent=False,
    )
    INSTALL_FAILED = CodeFacts(
        "the engine's environment could not be built",
        "mend what the message names, then install again",
        503,
        permanent=False,
    )
    CLUSTER_AWAY = CodeFacts(
        "the Kubernetes cluster or a node of it does not answer",
        "see that the address, or the pod, in the message can be reached; then retry the job",
        503,
        permanent=False,
    )
    BUSY = CodeFacts("another command is changing the same files", "wait for it, then try again", 409, permanent=False)
    ANALYSIS_UNAVAILABLE = CodeFacts(
        "the packages that analyse songs are not installed",
        "run `make analysis`, or pip install -r constraints/analysis.txt; then materialize song_analysis",
        503,
    )
    ENGINE_PROTOCOL = CodeFacts("the engine broke the engine protocol", "update or replace the engine", 500)
    OUT_OF_MEMORY = CodeFacts(
        "the work ran out of memory", "free memory, or choose a smaller model", 507, permanent=False
    )
    NO_WORKER = CodeFacts(
        "songs wait, and no worker begins any",
        "see the runs in the Dagster UI and the daemon's log; where nothing is wrong there, restart `pipelinectl up`",
        503,
        permanent=False,
    )
    WORKER_CRASHED = CodeFacts("the run's process died three times", "see the run's log, then retry the job", 500)
    STORAGE_AWAY = CodeFacts(
        "the data folder is not there or not ours", "mount the storage; work goes on by itself", 503, permanent=False
    )
    STORAGE_FULL = CodeFacts(
        "the disk is full or below its reserve", "free space; work goes on by itself", 507, permanent=False
    )
    STORAGE_READ_ONLY = CodeFacts(
        "the data folder cannot be written", "make it writable; work goes on by itself", 503, permanent=False
    )
    SCHEMA_MISMATCH = CodeFacts("the ledger has another schema version", "run `pipelinectl up`, which migrates it", 503)
    PORT_TAKEN = CodeFacts(
        "another program listens on the port",
        "stop it, or set the variable named in the message to a free port",
        503,
        permanent=False,
    )
    ALREADY_RUNNING = CodeFacts(
        "the home is run by another `pipelinectl up`", "use that one, or stop it first", 503, permanent=False
    )
    SERVICE_DOWN = CodeFacts(
        "a part of the system does not start", "mend what its log says, then start again", 503, permanent=False
    )
    INTERNAL = CodeFacts("an unexpected error", "report it with the job's id and the log", 500, permanent=False)

    @property
    def code(self) -> str:
        """The published spelling, e.g. ``not_audio``."""
        return self.name.lower()

    @property
    def facts(self) -> CodeFacts:
        return self.value

    @classmethod
    def from_code(cls, code: str) -> "ErrorCode":
        """Return the member spelled `code`; a spelling nobody published is ``INTERNAL``."""
        return cls.__members__.get(code.upper(), cls.INTERNAL)


class IroncladError(Exception):
    """Base of every error this project raises on purpose.

    Attributes:
        code: the published code.
        detail: what exactly was wrong, naming the value; safe to show to the uploader.
    """

    code: ErrorCode = ErrorCode.INTERNAL

    def __init__(self, detail: str, *, code: ErrorCode | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code

    @property
    def permanent(self) -> bool:
        return self.code.facts.permanent

    def describe(self) -> str:
        """Return one line for people: code, detail, remedy."""
        return f"{self.code.code}: {self.detail}; {self.code.facts.remedy}"


class PermanentFailure(IroncladError):  # noqa: N818 - an outcome that everybody reads by this name
    """The same input and settings will fail again; nothing retries it."""


class Refusal(PermanentFailure):
    """The input or the request itself is not acceptable."""


class TransientFailure(IroncladError):  # noqa: N818 - as above
    """Circumstances failed, not the song; the job may be tried again."""


class ChildKilled(TransientFailure):
    """A child was ended by SIGKILL that nobody here sent: memory ran out, or an operator did it.

    Whoever started it tries again a few times before the code is believed.
    """

    code = ErrorCode.OUT_OF_MEMORY


class StorageUnavailable(TransientFailure):
    """The store is away, full or read-only; the job is held until it is back."""


class JobCanceled(PermanentFailure):
    """The user or the operator canceled the job."""

    code = ErrorCode.CANCELED


def failure(code: ErrorCode, detail: str) -> IroncladError:
    """Return the exception that fits `code`: transient, permanent, or storage."""
    if code in (ErrorCode.STORAGE_AWAY, ErrorCode.STORAGE_FULL, ErrorCode.STORAGE_READ_ONLY):
        return StorageUnavailable(detail, code=code)
    if code is ErrorCode.CANCELED:
        return JobCanceled(detail)
    return (PermanentFailure if code.facts.permanent else TransientFailure)(detail, code=code)
