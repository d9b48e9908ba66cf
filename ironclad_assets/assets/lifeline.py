"""The lifeline of a run: nothing of ours outlives the supervisor that started it.

A run process survives the code server and the fork server, which started it, on purpose. When the
supervisor itself is gone, a thread ends the run at once; its children die with it, its job is queued again
at the next start, and finished work is reused. What a run survives is the absence of its database's server.
"""

import os
import threading
import time

from ironclad_assets.ledger.postgres import SERVER_PATIENCE_S, wait_for_servers
from ironclad_assets.ledger.worker import WorkerIdentity, is_alive

SUPERVISOR_VARIABLE = "IRONCLAD_SUPERVISOR"
POLL_S = 1.0
EXIT_CODE = 137

_started = threading.Lock()


def follow_supervisor() -> None:
    """End this process soon after the supervisor named in the environment is gone; until then wait for its database.

    Ends nothing when no supervisor is named (Dagster started by hand) and on every call but the first.
    """
    wait_for_servers(SERVER_PATIENCE_S)
    name = os.environ.get(SUPERVISOR_VARIABLE)
    if name and _started.acquire(blocking=False):
        threading.Thread(target=_watch, args=(WorkerIdentity.parse(name),), name="lifeline", daemon=True).start()


def _watch(supervisor: WorkerIdentity) -> None:
    while is_alive(supervisor):
        time.sleep(POLL_S)
    os._exit(EXIT_CODE)
