"""All settings, read from the environment (``IRONCLAD_*``) and nowhere else.

One frozen object is made at each door (code location, command, child) and passed down; no module reads
the environment by itself. Paths default to one folder of the user's, `IRONCLAD_HOME`.
"""

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from ironclad_assets.cluster_settings import ClusterSettings
from ironclad_assets.object_store_settings import ObjectStoreSettings
from ironclad_assets.upkeep_settings import UpkeepSettings

GIBIBYTE = 1024**3
MEBIBYTE = 1024**2

_SQLITE = "sqlite:///"
_SERVER = r"^https?://[A-Za-z0-9.\-\[\]:]{1,250}$"
_MEDIA_SERVER = r"^https?://[A-Za-z0-9.\-\[\]:]{1,250}(/[A-Za-z0-9._~%/-]{0,250})?$"
_CHECKOUT = Path(__file__).resolve().parent.parent

DEFAULT_LIBRARY_TEMPLATE = "{album_artist}/{album}/<<{disc}->{track} - ><{compilation_artist} - >{title}.{ext}"
"""``Album artist/Album (Label)/D-NN - Title (Label).ext``, as Jellyfin, Navidrome, Plex and Kodi read it best."""

MOST_THREADS = 8
"""Beyond these an engine gains little, and several songs at once gain more."""


def _count_cores() -> int:
    """Return how many threads an engine gets by default: the cores that this process may use, at most 8."""
    return min(len(os.sched_getaffinity(0)), MOST_THREADS)


class Settings(ClusterSettings, ObjectStoreSettings, UpkeepSettings):
    """Settings of one installation. Every field is ``IRONCLAD_`` plus its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="IRONCLAD_", frozen=True, extra="forbid")

    home: Path = Field(
        default=Path("~/.ironclad"), validate_default=True, description="Folder of everything this installation keeps."
    )
    data: Path | None = Field(default=None, description="Root of the store; default: pipeline-data in the home.")
    database_url: str | None = Field(
        default=None, description="SQLAlchemy URL of the ledger; default: ledger.db in the home."
    )
    engines_path: Path = Field(default=_CHECKOUT / "engines", description="Folder in which engines are found.")
    environments_path: Path | None = Field(
        default=None, description="Folder of the engines' environments; default: engines in the home."
    )
    models_path: Path | None = Field(default=None, description="Folder of model weights; default: models in the home.")

    model_mirrors: str = Field(
        default="",
        description="Addresses to fetch weights from before the published ones, separated by commas; each has a "
        "folder per engine.",
    )

    default_user: str = Field(default="local", description="Owner of files dropped directly into the upload folder.")
    default_engine: str = Field(default="spectral", description="Engine for jobs that name none.")
    default_model: str | None = Field(default=None, description="Model for jobs that name none; default: the engine's.")
    default_preset: Literal["fast", "balanced", "best"] | None = Field(
        default=None, description="Preset for jobs that name none."
    )

    library_template: str = Field(
        default=DEFAULT_LIBRARY_TEMPLATE,
        description="Paths in the library; what stands in < > is left out where a placeholder in it is empty.",
    )
    stems_template: str | None = Field(
        default=None, description="Paths in the library of stems; default: the library's template."
    )
    id3_version: Literal["2.3", "2.4"] = Field(
        default="2.4", description="Version of the ID3 tags in MP3 and WAV; 2.3 for players that do not know 2.4."
    )

    refresh_plex_url: str | None = Field(
        default=None, pattern=_MEDIA_SERVER, description="Plex server to tell of new entries, such as http://nas:32400."
    )
    refresh_plex_token: SecretStr | None = Field(default=None, description="Its X-Plex-Token.")
    refresh_jellyfin_url: str | None = Field(
        default=None, pattern=_MEDIA_SERVER, description="Jellyfin server to tell of new entries."
    )
    refresh_jellyfin_token: SecretStr | None = Field(default=None, description="Its API key.")
    refresh_navidrome_url: str | None = Field(
        default=None, pattern=_MEDIA_SERVER, description="Navidrome server to tell of new entries."
    )
    refresh_navidrome_user: str | None = Field(default=None, min_length=1, description="An administrator there.")
    refresh_navidrome_password: SecretStr | None = Field(default=None, description="The administrator's password.")
    refresh_subsonic_url: str | None = Field(
        default=None, pattern=_MEDIA_SERVER, description="Another server that speaks Subsonic's protocol."
    )
    refresh_subsonic_user: str | None = Field(default=None, min_length=1, description="An administrator there.")
    refresh_subsonic_password: SecretStr | None = Field(default=None, description="The administrator's password.")
    refresh_interval_s: float = Field(
        default=60.0, ge=0, le=86_400, description="Shortest time between two requests to a media server."
    )
    refresh_timeout_s: float = Field(
        default=5.0, gt=0, le=60, description="How long a media server may take to answer a request."
    )

    backup_path: Path | None = Field(
        default=None, description="Folder of the backups, best on another disk; default: backups in the store."
    )
    backup_schedule: str = Field(
        default="30 3 * * *",
        pattern=r"^(|\S+( \S+){4})$",
        description="When a backup is made, as cron says it, in UTC; empty for never.",
    )
    backup_keep: PositiveInt = Field(default=3, description="Scheduled backups that are kept, the newest ones.")
    backup_recipients: str = Field(
        default="",
        description="Public keys of age that scheduled backups are encrypted to, separated by commas; empty for plain.",
    )

    host: str = Field(default="127.0.0.1", description="Address that the Dagster UI listens on.")
    web_port: int = Field(default=3000, ge=1, le=65535, description="Port of the Dagster UI.")
    code_port: int = Field(default=4000, ge=1, le=65535, description="Loopback port of the code server.")
    dagster_yaml: Path = Field(default=_CHECKOUT / "dagster.yaml", description="Configuration of the Dagster instance.")
    workspace_yaml: Path = Field(default=_CHECKOUT / "workspace.yaml", description="Where Dagster finds the graph.")

    analyse: bool = Field(
        default=True, description="Whether complete songs are analysed when no song waits; needs `make analysis`."
    )

    unknown_users: Literal["member", "guest", "closed"] = Field(
        default="member", description="Role of users who come for the first time; closed: only known users are served."
    )
    terms_version: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Version of the terms that uploaders must have accepted; without one there are no terms.",
    )
    terms_url: str | None = Field(
        default=None, pattern=r"^[!-~]{1,500}$", description="Path or address of the text of the terms."
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis for rate limits and progress that several machines share, such as redis://redis:6379/0; "
        "needs `pip install ironclad-assets[redis]`.",
    )

    clamd_address: str | None = Field(
        default=None,
        pattern=r"^(/.{1,106}|(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5})$",
        description="Socket of clamd, a path or host:port; without one nothing is scanned for malware.",
    )
    clamd_timeout_s: float = Field(
        default=150.0, gt=0, le=3600, description="How long clamd may take for one answer; more than its MaxScanTime."
    )
    submit_folders: str = Field(
        default="",
        description="Folders that `submit` takes files from, separated by colons; without any it takes them from all.",
    )

    settle_s: float = Field(default=2.0, ge=0, description="How long a foreign file must stay unchanged.")
    retry_attempts: PositiveInt = Field(
        default=3, description="How often a job is tried in all whose failures may pass by themselves."
    )
    retry_base_s: float = Field(
        default=10.0, ge=0, le=600, description="Longest wait after the first failure; it grows fourfold, up to 600 s."
    )
    max_upload_bytes: PositiveInt = Field(default=8 * GIBIBYTE, description="Largest accepted file.")
    min_duration_s: float = Field(default=0.5, gt=0, description="Shortest accepted song.")
    max_duration_s: float = Field(default=4 * 3600.0, gt=0, description="Longest accepted song.")
    user_quota_bytes: PositiveInt = Field(
        default=500 * GIBIBYTE,
        description="Bytes that a user may store, originals and files of every stage; see `pipelinectl limits`.",
    )
    disk_reserve_bytes: PositiveInt = Field(default=2 * GIBIBYTE, description="Free space below which work pauses.")

    media_cpu_s: PositiveInt = Field(
        default=20, description="Processor seconds a probe may use, beyond 1 s per minute of audio."
    )
    media_memory_bytes: PositiveInt = Field(default=512 * MEBIBYTE, description="Resident memory of a media child.")
    media_open_files: int = Field(default=256, ge=32, description="Files that a media child may have open at once.")
    media_scratch_bytes: PositiveInt = Field(
        default=64 * GIBIBYTE, description="Disk that a media child may fill with what it makes."
    )
    engine_memory_bytes: PositiveInt = Field(default=8 * GIBIBYTE, description="Resident memory of an engine worker.")
    engine_open_files: int = Field(
        default=1024, ge=64, description="Files that an engine worker may have open at once."
    )
    engine_scratch_bytes: PositiveInt = Field(
        default=256 * GIBIBYTE, description="Disk that an engine worker may fill with stems and checkpoints of a song."
    )
    engine_threads: PositiveInt = Field(
        default_factory=_count_cores,
        description="Threads an engine worker uses; default: the cores of this machine, at most 8.",
    )
    engine_batch: PositiveInt | None = Field(
        default=None, description="Windows computed at once; default: 1 on the CPU, 8 on a GPU."
    )
    engine_fall_back_to_cpu: bool = Field(
        default=True, description="Whether work that a GPU's memory does not suffice for may go on on the CPU."
    )
    engine_stall_s: float = Field(default=120.0, gt=0, description="Silence after which a worker is ended.")
    engine_device: str = Field(
        default="cpu",
        pattern=r"^(cpu|mps|cuda(:\d+)?)$",
        description="Device of the engines that can use it; one that is missing is an error, never another device.",
    )
    executor: Literal["subprocess", "warm", "kubernetes"] = Field(
        default="subprocess", description="How engine workers run: one per song, kept warm between songs, or as jobs."
    )
    warm_workers: PositiveInt = Field(default=1, description="Warm workers on the CPU; on GPUs there is one each.")
    warm_idle_s: float = Field(default=600.0, gt=0, description="Idle time after which a warm worker ends.")

    lookup_contact: str | None = Field(
        default=None,
        pattern=r"^[!-'*-~]{1,150}$",
        description="Web or mail address that MusicBrainz may write to; without one nothing is looked up.",
    )
    lookup_total_s: float = Field(default=20.0, gt=0, le=600, description="Longest time for lookups of one song.")
    lookup_request_s: float = Field(default=8.0, gt=0, le=600, description="Longest wait for one answer.")
    lookup_interval_s: float = Field(
        default=1.0,
        ge=0,
        description="Time between two requests to one host; for the public servers never below one second.",
    )
    lookup_cache_days: float = Field(default=30.0, ge=0, description="How long an answer is not asked for again.")
    lookup_failures: PositiveInt = Field(
        default=4, description="Failures in a row after which a source is left alone for a while."
    )
    lookup_rest_s: float = Field(default=300.0, ge=0, description="How long it is left alone.")
    lookup_musicbrainz_url: str = Field(
        default="https://musicbrainz.org",
        pattern=_SERVER,
        description="MusicBrainz, or a mirror of it: scheme, host and port.",
    )
    lookup_cover_art_url: str = Field(
        default="https://coverartarchive.org", pattern=_SERVER, description="The Cover Art Archive, or a mirror of it."
    )
    lookup_acoustid_url: str = Field(
        default="https://api.acoustid.org", pattern=_SERVER, description="AcoustID, or a mirror of it."
    )
    lookup_acoustid_key: str | None = Field(
        default=None,
        pattern=r"^[!-~]{1,100}$",
        description="Application key for AcoustID; without one it is not asked.",
    )

    @field_validator(
        "home",
        "data",
        "engines_path",
        "environments_path",
        "models_path",
        "backup_path",
        "dagster_yaml",
        "workspace_yaml",
        "kubernetes_config",
        "kubernetes_data_mount",
        "kubernetes_models_mount",
    )
    @classmethod
    def _make_absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().resolve()

    @field_validator("database_url")
    @classmethod
    def _complete_database_url(cls, url: str | None) -> str | None:
        """Make the path of a SQLite file absolute; name the driver that is installed for Postgres."""
        if url is None or not url.startswith(_SQLITE) or url == f"{_SQLITE}:memory:":
            return None if url is None else name_driver(url)
        return f"{_SQLITE}{Path(url.removeprefix(_SQLITE)).expanduser().resolve()}"

    def as_environment(self) -> dict[str, str]:
        """Return the variables that give another process these settings, whatever folder it runs in."""
        values = self.model_dump(mode="json", exclude_none=True)
        for name in values:
            if isinstance(secret := getattr(self, name), SecretStr):
                values[name] = secret.get_secret_value()
        return {
            f"IRONCLAD_{name.upper()}": json.dumps(value) if isinstance(value, (dict, list)) else str(value)
            for name, value in values.items()
        }

    @cached_property
    def home_dir(self) -> Path:
        return self.home

    @cached_property
    def store_root(self) -> Path:
        return self.data or self.home_dir / "pipeline-data"

    @cached_property
    def environments_dir(self) -> Path:
        return self.environments_path or self.home_dir / "engines"

    @cached_property
    def models_dir(self) -> Path:
        return self.models_path or self.home_dir / "models"

    @cached_property
    def submit_roots(self) -> tuple[Path, ...]:
        """The folders that `submit` takes files from, symbolic links resolved; none means: from everywhere."""
        names = [name for name in self.submit_folders.split(":") if name.strip()]
        return tuple(Path(name).expanduser().resolve() for name in names)

    @cached_property
    def ledger_url(self) -> str:
        return self.database_url or f"sqlite:///{self.home_dir / 'ledger.db'}"

    @cached_property
    def on_postgres(self) -> bool:
        return self.ledger_url.startswith("postgresql")

    @cached_property
    def instance_yaml(self) -> Path:
        """The configuration of the Dagster instance: the one that was set, else the one for the ledger's database."""
        chosen = "dagster_yaml" in self.model_fields_set or not self.on_postgres
        return self.dagster_yaml if chosen else _CHECKOUT / "deploy" / "postgres" / "dagster.yaml"

    @cached_property
    def dagster_home(self) -> Path:
        return self.home_dir / "dagster"


def name_driver(url: str) -> str:
    """Return the URL of a database, with the driver that is installed for Postgres where it names none."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg2{separator}{rest}" if scheme in ("postgres", "postgresql") else url


def load_settings() -> Settings:
    """Return the settings of this process's environment."""
    return Settings()
