"""Engines that misbehave, each in one way, and the songs to try them on."""

import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ironclad_assets.contracts.v1.engine import AudioFile, EngineRequest
from ironclad_assets.contracts.v1.staged_chunks import Chunk, MixtureStatistics
from ironclad_assets.engine_host.registry import InstalledEngine, find_engines

ENGINES = Path(__file__).resolve().parents[3] / "engines"
RATE = 44_100
WINDOW = RATE

_MANIFEST = """
name = "{name}"
version = "0.1.0"
kind = "separation"
protocol = 1
description = "misbehaves"
licence = "MIT"
entry = "{module}:{entry}"
environment = "core"
default_model = "only"
[[models]]
name = "only"
stems = ["one", "two"]
sample_rate_hz = 44100
channels = 2
"""

_MODULE = '''
"""Engines that misbehave."""
import os, signal, subprocess, sys, time
import numpy as np
from ironclad_harness.engine import EngineError, Pass

class Good:
    def __init__(self, context): self.context = context
    def passes(self): return [Pass(window=44100, hop=44100)]
    def separate(self, y, *, window): return np.stack([y * np.float32(0.25), y * np.float32(0.75)])

class Slow(Good):
    def separate(self, y, *, window):
        time.sleep(0.4)
        return super().separate(y, window=window)

class Chatty(Good):
    def separate(self, y, *, window):
        os.write(1, b"\\xff\\x00{not json}\\n" * 2000)
        os.write(2, bytes(range(256)) * 40)
        print("the end of the chatter", flush=True)
        return super().separate(y, window=window)

class Leaves(Good):
    def separate(self, y, *, window): os._exit(0)

class Fails(Good):
    def separate(self, y, *, window): raise ValueError("the model is upside down")

class Mangles(Good):
    def separate(self, y, *, window): raise ValueError(os.fsdecode(b"no file called \\xff.bin"))

class Names(Good):
    def separate(self, y, *, window): raise EngineError("engine_unavailable", "the weights are missing")

class NotANumber(Good):
    def separate(self, y, *, window):
        stems = super().separate(y, window=window)
        if window.index == 2: stems[1, 0, 17] = np.nan
        return stems

class TooShort(Good):
    def separate(self, y, *, window): return super().separate(y, window=window)[..., :-1]

class NotAnArray(Good):
    def separate(self, y, *, window): return [y, y]

class NoPass(Good):
    def passes(self): return []

class Gaps(Good):
    def passes(self): return [Pass(window=44100, hop=50000)]

class NoMemory(Good):
    def separate(self, y, *, window): raise MemoryError("asked for 9 GB")

class EatsMemory(Good):
    def separate(self, y, *, window):
        self.hoard = [np.ones(2_000_000) for _ in range(60)]
        time.sleep(60)

class KilledBySystem(Good):
    def separate(self, y, *, window): os.kill(os.getpid(), signal.SIGKILL)

class Crashes(Good):
    def separate(self, y, *, window): os.abort()

class BurnsCpu(Good):
    def separate(self, y, *, window):
        while True: pass

class OpensFiles(Good):
    def separate(self, y, *, window):
        self.held = [open("/dev/null") for _ in range(100_000)]

class FillsDisk(Good):
    """Writes many files, none of them large."""
    def separate(self, y, *, window):
        with open(os.path.join(os.path.dirname(__file__), "output")) as file: folder = file.read()
        for number in range(400):
            with open(os.path.join(folder, f"junk{number}"), "wb") as file: file.write(os.urandom(2**18))
            time.sleep(0.01)
        return super().separate(y, window=window)

class Hangs(Good):
    def separate(self, y, *, window): time.sleep(600)

class IgnoresStop(Good):
    def separate(self, y, *, window):
        for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
        time.sleep(600)

class DiskFull(Good):
    """Meets a full disk, on which not even the failure can be written."""
    def separate(self, y, *, window):
        import ironclad_harness.worker as worker
        def write_result(*args, **options): raise OSError(28, "No space left on device")
        worker.write_result = write_result
        write_result()

class Garbles(Good):
    """Writes garbage to every descriptor it finds, the one for events among them."""
    def separate(self, y, *, window):
        for number in range(1, 64):
            try:
                if not os.path.isfile(f"/proc/self/fd/{number}"): os.write(number, b"\\xff{]\\x00 no event\\n" * 50)
            except OSError: pass
        return super().separate(y, window=window)

class WrongLength(Good):
    """Goes round the harness: stems that are too short, and a result that calls them complete."""
    def separate(self, y, *, window):
        import json
        folder, key = output(), "a" * 64
        for stem in ("one", "two"): open(os.path.join(folder, stem + ".f32"), "wb").write(b"1234" * 100)
        stems = [{"name": stem, "path": stem + ".f32", "frames": self.context.frames} for stem in ("one", "two")]
        result = {"protocol": 1, "key": key, "status": "completed", "stems": stems}
        open(os.path.join(folder, "result.json"), "w").write(json.dumps(result))
        os._exit(0)

class Exits(Good):
    """Leaves in a well-mannered way, without having done anything."""
    def separate(self, y, *, window): sys.exit(0)

class SlowToLoad(Good):
    """Takes a second to load its model, which it keeps."""
    def __init__(self, context):
        super().__init__(context)
        self.model = context.keeper.keep("model", self.load)
    def load(self):
        time.sleep(1)
        return "loaded"

class NeverLoads(Good):
    def __init__(self, context): time.sleep(600)

class StallsOnce(Good):
    """Hangs in its fourth window, the first time."""
    def separate(self, y, *, window):
        marker = os.path.join(os.path.dirname(__file__), "stalled")
        if window.index == 3 and not os.path.exists(marker):
            open(marker, "w").close()
            time.sleep(600)
        return super().separate(y, window=window)

class KilledOnce(Good):
    """Is killed in its fourth window, the first time."""
    def separate(self, y, *, window):
        marker = os.path.join(os.path.dirname(__file__), "killed")
        if window.index == 3 and not os.path.exists(marker):
            open(marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().separate(y, window=window)

class LeavesChild(Good):
    """Starts a process that nobody waits for, and does its work well."""
    def __init__(self, context):
        super().__init__(context)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", output()])

class Grows(Good):
    """Keeps 300 MB more with every song."""
    def __init__(self, context):
        super().__init__(context)
        hoard.append(np.ones(37_500_000))

hoard = []

class Dials(Good):
    """Says in a failure of its own whether the port in the environment answers."""
    def separate(self, y, *, window):
        import socket
        port = int(os.environ["IRONCLAD_JOB"])
        try: socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError as error: raise EngineError("engine_failed", f"errno {error.errno}")
        raise EngineError("engine_failed", "connected")

class Family(Good):
    """Has a child, and a grandchild in a session of its own, which ignore every polite signal."""
    def separate(self, y, *, window):
        stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        start = f"[sys.executable, '-c', {stubborn!r}, '{output()}'], start_new_session=True"
        child = f"import subprocess, sys; subprocess.Popen({start}); {stubborn}"
        subprocess.Popen([sys.executable, "-c", child, output()])
        time.sleep(1)
        if os.environ.get("IRONCLAD_JOB") == "leave": os._exit(3)
        time.sleep(600)

def output():
    """Return the folder of the song that this engine was last set up for."""
    return open(os.path.join(os.path.dirname(__file__), "output")).read()
'''


@dataclass(frozen=True, slots=True)
class Bench:
    """A rogue engine and a request for it, in a folder of their own."""

    engine: InstalledEngine
    request: EngineRequest
    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def hand_off(self) -> Path:
        return self.folder / "hand-off"

    @property
    def log_path(self) -> Path:
        return self.folder / "logs" / "worker.log"

    def mixture(self) -> np.ndarray:
        return np.fromfile(self.request.mixture.path, "<f4").reshape(-1, 2)

    def stem(self, name: str) -> np.ndarray:
        return np.fromfile(self.output / f"{name}.f32", "<f4").reshape(-1, 2)


def set_up(
    folder: Path, *, entry: str, seconds: float = 5.0, job_uuid: str = "job", engines: Path | None = None
) -> Bench:
    """Return the rogue called `entry` with a request for `seconds` of noise, in chunks of two seconds.

    It is installed in `engines`, beside others, or in an engines folder of its own.
    """
    name = "rogue" if engines is None else f"rogue-{entry.lower()}"
    engines = engines or folder / "engines"
    home, module_name = engines / name, name.replace("-", "_")
    home.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    if not (engines / "_harness").exists():
        (engines / "_harness").symlink_to(ENGINES / "_harness")
    manifest = _MANIFEST.format(entry=entry, name=name, module=module_name)
    if not (home / "engine.toml").exists():
        (home / "engine.toml").write_text(manifest, encoding="utf-8")
    module = home / f"{module_name}.py"
    if not module.exists():  # a worker that is warm must not be taken for one of another engine
        module.write_text(textwrap.dedent(_MODULE), encoding="utf-8")
    (home / "output").write_text(str(folder / "output"), encoding="utf-8")
    (folder / "output").mkdir()
    frames = int(seconds * RATE)
    noise = np.random.default_rng(3).normal(0, 0.1, (frames, 2)).astype("<f4")
    noise.tofile(folder / "mixture.f32")
    engine = find_engines(engines)[name]
    step = 2 * RATE
    request = EngineRequest(
        job_uuid=job_uuid,
        song="song",
        engine=name,
        engine_version=engine.manifest.version,
        entry=engine.manifest.entry,
        model="only",
        stems=("one", "two"),
        mixture=AudioFile(path=str(folder / "mixture.f32"), sample_rate_hz=RATE, channels=2, frames=frames),
        statistics=MixtureStatistics(mean=0.0, std=0.1, peak=0.5, rms=0.1),
        chunks=tuple(Chunk(start=at, frames=min(step, frames - at)) for at in range(0, frames, step)),
        key="a" * 64,
        output_dir=str(folder / "output"),
    )
    return Bench(engine=engine, request=request, folder=folder)


def processes_marked(folder: Path) -> list[str]:
    """Return pid and command line of all processes that carry the folder's name: the rogue and its family."""
    listing = subprocess.run(
        ["ps", "-ww", "-eo", "pid,stat,args"], capture_output=True, text=True, check=True, timeout=10
    )
    lines = [line.split(maxsplit=2) for line in listing.stdout.splitlines()]
    return [f"{pid} {command}" for pid, state, command in lines if str(folder) in command and state[0] != "Z"]
