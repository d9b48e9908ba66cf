"""Structured logs: one event a line, with who and what as key=value or JSON.

Every line about a song carries its ids (SPLIT-017), bound once with `bind`. Where lines go is decided at the
door of a process, with `configure_logs`; nothing is configured by importing this.
"""

import logging
from typing import TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

FIRST_KEYS = ("timestamp", "level", "event", "song", "job_uuid", "user_id", "engine")


def configure_logs(stream: TextIO, *, as_json: bool, level: int = logging.INFO) -> None:
    """Send this process's events of at least `level` to `stream`, as JSON or as key=value.

    Both spell control characters as escapes, so that no value can forge a line or move a terminal's cursor.
    """
    renderer: Processor = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if as_json
        else structlog.processors.KeyValueRenderer(key_order=list(FIRST_KEYS), drop_missing=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def bind(
    *, song: str | None = None, job_uuid: str | None = None, user_id: str | None = None, engine: str | None = None
) -> FilteringBoundLogger:
    """Return a logger whose every line carries these ids; those that are None are left out."""
    ids = {"song": song, "job_uuid": job_uuid, "user_id": user_id, "engine": engine}
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger.bind(**{key: value for key, value in ids.items() if value is not None})
