"""What is kept in Redis: moving windows of submissions, and the progress of jobs that run. Needs the extra `redis`.

Everything in it may be lost at any time. Keys begin with `ironclad:` and expire by themselves.
"""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import redis
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter

from ironclad_assets.ledger.live import AwayError, LiveProgress, Verdict

PREFIX = "ironclad"
ANSWER_S = 0.5
"""How long Redis may take to answer before it counts as away."""

KEPT_S = 900
"""How long progress is kept after it was last heard of."""


class RedisState:
    """The state behind one URL (redis, rediss or unix). Nothing is connected before it is used."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S, decode_responses=False
        )
        self._limiter: MovingWindowRateLimiter | None = None

    def hit(self, name: str, *, per_minute: int) -> Verdict:
        """Count one more of `name` unless `per_minute` were counted within the last 60 seconds.

        Raises:
            AwayError: Redis does not answer.
        """
        item = RateLimitItemPerMinute(max(per_minute, 1))
        with _away():
            limiter = self._open_limiter()
            if per_minute > 0 and limiter.hit(item, name):
                return Verdict(allowed=True)
            reset_s = limiter.get_window_stats(item, name).reset_time - time.time()
        return Verdict(allowed=False, retry_after_s=float(math.ceil(min(max(reset_s, 1.0), 60.0))))

    def put_progress(self, job_uuid: str, progress: LiveProgress) -> None:
        """Keep the progress of a job for `KEPT_S` seconds.

        Raises:
            AwayError: Redis does not answer.
        """
        with _away():
            self._client.set(_key(job_uuid), json.dumps(asdict(progress)), ex=KEPT_S)

    def read_progress(self, job_uuids: list[str]) -> dict[str, LiveProgress]:
        """Return what is known of these jobs.

        Raises:
            AwayError: Redis does not answer, or with something else than was put there.
        """
        with _away():
            values = self._client.mget([_key(job_uuid) for job_uuid in job_uuids])
            return {
                job_uuid: LiveProgress(**json.loads(value))
                for job_uuid, value in zip(job_uuids, values, strict=True)
                if value is not None
            }

    def _open_limiter(self) -> MovingWindowRateLimiter:
        if self._limiter is None:
            storage = RedisStorage(
                "redis://localhost", connection_pool=self._client.connection_pool, key_prefix=f"{PREFIX}:rate"
            )
            self._limiter = MovingWindowRateLimiter(storage)
        return self._limiter


def _key(job_uuid: str) -> str:
    return f"{PREFIX}:progress:{job_uuid}"


@contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError, ValueError, TypeError) as error:
        raise AwayError(f"{type(error).__name__}: {error}") from error
