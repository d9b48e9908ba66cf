"""Dagster's code server with warm runs: ``python -m ironclad_assets.sensors.code_server OPTIONS``.

OPTIONS are those of ``dagster api grpc``.
"""

import sys

from dagster._cli import main as run_dagster  # what the script `dagster` runs
from dagster._grpc import server

from ironclad_assets.sensors.warm_runs import open_warm_runs
from ironclad_assets.settings import load_settings


class WarmApiServer(server.DagsterApiServer):
    """The server of Dagster, which starts runs in the way of `multiprocessing` that stands in `_mp_ctx`."""

    def __init__(self, **options: object) -> None:
        """Load the code location; `options` are Dagster's own."""
        settings = load_settings()
        warm_runs = open_warm_runs(settings.home_dir / "run" / "forks", on_postgres=settings.on_postgres)
        super().__init__(**options)  # type: ignore[arg-type]
        self._mp_ctx = warm_runs  # type: ignore[assignment]


def main() -> None:
    """Serve until the end is asked for."""
    server.DagsterApiServer = WarmApiServer  # type: ignore[misc, assignment] # the command looks it up there when it runs
    sys.argv = ["dagster", "api", "grpc", *sys.argv[1:]]
    run_dagster()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
