"""Settings of the object store in which the store lasts: a part of `settings.Settings`, which every module is given.

Without a URL nothing here is read, and the store is its root folder alone (``docs/storage.md``).
"""

from pathlib import Path

from pydantic import Field, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings

_BUCKET = r"^s3://[a-z0-9][a-z0-9.-]{1,62}(/[A-Za-z0-9._-]{1,100}){0,5}/?$"
_SERVER = r"^https?://[A-Za-z0-9.\-\[\]:]{1,250}$"


class ObjectStoreSettings(BaseSettings):
    """Where the bucket is, how to get in, and how patient to be."""

    object_store_url: str | None = Field(
        default=None,
        pattern=_BUCKET,
        description="Where the store lasts, such as s3://bucket/prefix; its root is a working copy then. Needs the "
        "extra s3.",
    )
    object_store_endpoint: str | None = Field(
        default=None, pattern=_SERVER, description="Server of the bucket, where it is not Amazon's."
    )
    object_store_region: str | None = Field(default=None, min_length=1, description="Region of the bucket.")
    object_store_access_key: SecretStr | None = Field(
        default=None, description="Access key; default: as the AWS tools find theirs."
    )
    object_store_secret_key: SecretStr | None = Field(default=None, description="Its secret.")
    object_store_session_token: SecretStr | None = Field(default=None, description="Token of a temporary access key.")
    object_store_path_style: bool = Field(
        default=True, description="Whether the bucket is named in the path, not in the name of the host."
    )
    object_store_allow_http: bool = Field(
        default=False, description="Whether the server may be spoken to without encryption."
    )
    object_store_ca: Path | None = Field(
        default=None, description="File with certificates of an authority of your own, PEM."
    )
    object_store_cache_bytes: PositiveInt | None = Field(
        default=None,
        description="What local copies of originals and artifacts may take; those not used for longest go. Default: "
        "all stay.",
    )
    object_store_timeout_s: float = Field(
        default=60.0, gt=0, le=3600, description="How long one request may take; large files take many."
    )
    object_store_retries: int = Field(default=5, ge=0, le=20, description="How often a request is tried again.")

    @field_validator("object_store_ca")
    @classmethod
    def _make_ca_absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().resolve()
