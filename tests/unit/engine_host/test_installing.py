"""Building environments for real, with wheels made here and no network."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.version import Version

from ironclad_assets.engine_host import setting_up
from ironclad_assets.engine_host.environments import (
    RECORD_NAME,
    EnvironmentState,
    find_environment,
    find_environments,
)
from ironclad_assets.engine_host.installing import InstallPlan, install, pip_command, plan_install, remove_environments
from ironclad_assets.engine_host.interpreters import Interpreter
from ironclad_assets.engine_host.listening import SilentListener
from ironclad_assets.engine_host.locks import hold_lock
from ironclad_assets.engine_host.machine import Machine
from ironclad_assets.engine_host.probe import ProbeError, read_contents, read_devices
from ironclad_assets.engine_host.registry import BUILDING_MARKER, InstalledEngine, find_engines
from ironclad_assets.engine_host.setting_up import choose_environments, set_up
from ironclad_assets.errors import ErrorCode, IroncladError, failure
from tests.unit.engine_host.shop import MANIFEST

HERE = Interpreter(Path(sys.executable), Version(".".join(map(str, sys.version_info[:3]))))
MACHINE = Machine("Some CPU", frozenset({"avx"}), cores=2, memory_bytes=2**33, gpus=(), gpu_problem="no driver")
ENVIRONMENTS = """
[environments.default]
requirements = ["tiny", "numpy"]
constraints = "pins.txt"
modules = ["tiny"]
variables = {{ TINY = "yes" }}
[environments.further]
requirements = ["{further}"]
"""


class Recorder(SilentListener):
    """Remembers the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)


def make_wheel(folder: Path, *, name: str, version: str, content: str = "") -> None:
    """Write a wheel with one module."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, name="numpy", version="9.9")
    make_wheel(folder, name="tiny", version="1.0", content="import os\nassert os.environ['TINY'] == 'yes'\n")
    make_wheel(folder, name="tiny", version="2.0", content="raise ImportError('needs a newer system')\n")
    return folder


@pytest.fixture(autouse=True)
def _no_network(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))


def make_engine(root: Path, *, further: str = "numpy", pins: str = "tiny==1.0\n", more: str = "") -> InstalledEngine:
    folder = root / "engines" / "fake"
    folder.mkdir(parents=True, exist_ok=True)
    manifest = MANIFEST.format(name="fake", environment="own").replace('weights = "small"\n', "")
    text = manifest.replace('weights = "large"\n', "") + ENVIRONMENTS.format(further=further) + more
    (folder / "engine.toml").write_text(text, encoding="utf-8")
    (folder / "pins.txt").write_text(pins, encoding="utf-8")
    return find_engines(root / "engines", environments=root / "envs")["fake"]


def build(engine: InstalledEngine, *, environment: str = "default", again: bool = False) -> str:
    plan = plan_install(engine, environment=environment, machine=MACHINE, interpreters=[HERE])
    root = engine.environment_folder("default").parent.parent
    return install(plan, log_path=root / "log", listener=SilentListener(), again=again).state


@pytest.fixture(scope="module")
def installed_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("installed")


@pytest.fixture
def installed(installed_root: Path) -> Iterator[InstalledEngine]:
    """An engine whose default environment is there; built once, for tests that leave it as it is."""
    engine = make_engine(installed_root)
    assert build(engine) == "installed"
    yield engine
    assert find_environment(engine, environment="default").state == "installed"


def refused(engine: InstalledEngine, *, machine: Machine = MACHINE, environment: str = "default") -> IroncladError:
    with pytest.raises(IroncladError) as caught:
        plan_install(engine, environment=environment, machine=machine, interpreters=[HERE])
    return caught.value


def test_an_environment_holds_what_was_asked_for_under_its_constraints(installed: InstalledEngine) -> None:
    """ENG-001: each engine in an environment of its own."""
    state = find_environment(installed, environment="default")
    assert state.record is not None
    assert (state.record.packages["tiny"], state.record.packages["numpy"]) == ("1.0", "9.9")
    python = installed.python()
    assert python == installed.environments / "fake" / "bin" / "python"  # type: ignore[operator]
    contents = read_contents(python, modules=["tiny", "none_such"], variables={"TINY": "yes"})
    assert set(contents.failed) == {"none_such"}
    assert read_devices(python, variables={}) == {}


def test_installing_again_does_nothing_until_the_recipe_changes(installed: InstalledEngine, tmp_path: Path) -> None:
    record = installed.environment_folder("default") / RECORD_NAME
    before = record.stat().st_mtime_ns
    assert build(installed) == "installed"
    assert record.stat().st_mtime_ns == before
    changed = make_engine(tmp_path, pins="tiny==1.0\nnumpy==9.9\n")
    moved = replace(changed, environments=installed.environments)
    state = find_environment(moved, environment="default")
    assert (state.state, state.usable) == ("outdated", True)


def test_a_failed_rebuild_leaves_what_was_there(installed: InstalledEngine, tmp_path: Path) -> None:
    broken = replace(make_engine(tmp_path, pins="tiny==2.0\n"), environments=installed.environments)
    with pytest.raises(IroncladError, match="tiny cannot be imported: ImportError: needs a newer system") as caught:
        build(broken)
    assert caught.value.code is ErrorCode.INSTALL_FAILED
    assert read_contents(installed.python(), modules=["tiny"], variables={"TINY": "yes"}).failed == {}


def make_interpreter(root: Path, *, pip: str) -> Interpreter:
    """Write a program that makes an environment whose interpreter is the script `pip`."""
    program = root / "python-that-makes"
    lines = ["#!/bin/sh", 'mkdir -p "$3/bin"', f"printf '%s' '#!/bin/sh\n{pip}\n' > \"$3/bin/python\""]
    program.write_text("\n".join([*lines, 'chmod +x "$3/bin/python"', ""]), encoding="utf-8")
    program.chmod(0o755)
    return Interpreter(program, HERE.version)


def test_what_stops_pip_is_told_with_its_last_error_and_the_log(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    said = "Looking in indexes: secret", "ERROR: No matching distribution found for tiny==1.0", "[notice] be well"
    pip = "".join(f'echo "{line}"; ' for line in said) + "exit 1"
    maker = make_interpreter(tmp_path, pip=pip)
    plan = plan_install(engine, environment="default", machine=MACHINE, interpreters=[maker])
    with pytest.raises(IroncladError) as caught:
        install(plan, log_path=tmp_path / "logs" / "log", listener=SilentListener())
    assert caught.value.code is ErrorCode.INSTALL_FAILED
    assert caught.value.detail.startswith("fake: ERROR: No matching distribution found for tiny==1.0 (")
    assert str(tmp_path / "logs" / "log") in caught.value.detail
    log = (tmp_path / "logs" / "log").read_text(encoding="utf-8")
    assert "be well" in log
    assert "secret" not in log
    assert find_environment(engine, environment="default").state == "missing"


def test_an_interrupted_build_is_seen_and_done_again(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    maker = make_interpreter(tmp_path, pip='echo "Collecting tiny"; exec sleep 60')
    script = f"""
from pathlib import Path
from tests.unit.engine_host import test_installing as t
engine = t.make_engine(Path({str(tmp_path)!r}))
maker = t.Interpreter(Path({str(maker.path)!r}), t.HERE.version)
plan = t.plan_install(engine, environment="default", machine=t.MACHINE, interpreters=[maker])
t.install(plan, log_path=Path({str(tmp_path)!r}) / "log", listener=t.SilentListener())
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[3], process_group=0)
    try:
        _wait_for("Collecting tiny", log=tmp_path / "log")
        process.kill()
        process.wait()
        with pytest.raises(IroncladError, match="is being installed by another command"):
            build(engine)  # pip lives on, and it has the lock
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert find_environment(engine, environment="default").state == "incomplete"
    with pytest.raises(IroncladError, match="was not built to its end"):
        engine.python()
    _wait_until_free(engine)
    assert build(engine) == "installed"


def _wait_for(text: str, *, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if log.exists() and text in log.read_text(encoding="utf-8"):
            return
        time.sleep(0.02)
    raise AssertionError(f"{text} never came")


def _wait_until_free(engine: InstalledEngine) -> None:
    busy = failure(ErrorCode.INSTALL_FAILED, "busy")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(IroncladError), hold_lock(engine.environment_folder("default").parent / ".fake.lock", busy=busy):
            return
        time.sleep(0.02)


def test_removing_deletes_every_environment_and_what_was_left_of_one(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    for name in ("default", "further"):
        folder = engine.environment_folder(name)
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()
    (engine.environment_folder("further") / BUILDING_MARKER).touch()
    assert [state.state for state in find_environments(engine)] == ["foreign", "incomplete"]
    assert [folder.name for folder in remove_environments(engine)] == ["fake", "fake-further"]
    assert [state.state for state in find_environments(engine)] == ["missing", "missing"]
    assert remove_environments(engine) == ()


def test_a_link_to_an_environment_is_never_built_into_and_only_the_link_is_removed(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "bin").mkdir(parents=True)
    engine.environment_folder("default").parent.mkdir()
    engine.environment_folder("default").symlink_to(elsewhere)
    assert "is a link" in refused(engine).detail
    remove_environments(engine)
    assert elsewhere.is_dir()


# Before anything is done


def test_a_processor_that_lacks_a_feature_is_refused_by_name(tmp_path: Path) -> None:
    more = '[environments.more]\ncpu_features = ["avx", "amx"]\n'
    error = refused(make_engine(tmp_path, more=more), environment="more")
    assert error.code is ErrorCode.INSTALL_FAILED
    assert "needs a processor with amx, which Some CPU has not" in error.detail
    unknown = replace(MACHINE, cpu_features=None)
    plan_install(make_engine(tmp_path, more=more), environment="more", machine=unknown, interpreters=[HERE])


def test_a_disk_without_room_is_refused_with_the_figures(tmp_path: Path) -> None:
    more = "[environments.more]\ndownload_mib = 1000000000\n"
    assert "needs 4000000000 MiB of disk" in refused(make_engine(tmp_path, more=more), environment="more").detail


def test_missing_constraints_are_the_engines_fault(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    (engine.folder / "pins.txt").unlink()
    assert refused(engine).code is ErrorCode.ENGINE_UNAVAILABLE


def test_a_plan_says_what_it_downloads_and_where_it_builds(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, more="[environments.more]\ndownload_mib = 12\n")
    plan = plan_install(engine, environment="more", machine=MACHINE, interpreters=[HERE])
    assert "about 12 MiB from pip's configured index" in plan.notes[0]
    assert str(engine.environment_folder("more")) in plan.notes[1]


def test_packages_come_as_wheels_but_for_those_named(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, more='[environments.more]\nfrom_source = ["diffq"]\n')
    plan = plan_install(engine, environment="more", machine=MACHINE, interpreters=[HERE])
    command = pip_command(Path("python"), plan=plan, packages=["a"])
    assert " ".join(command[4:]).startswith("--no-input")
    assert "--only-binary :all: --no-binary diffq -- a" in " ".join(command)


# Several environments


def set_all_up(
    engine: InstalledEngine, root: Path, *only: str, failing: tuple[str, ...]
) -> tuple[tuple[IroncladError, ...], list[str]]:
    """Set environments up with an `install` that only fails where it is told to."""

    def fake(plan: InstallPlan, **options: object) -> EnvironmentState:
        if plan.environment in failing:
            raise failure(ErrorCode.INSTALL_FAILED, f"{plan.label} cannot be built")
        return find_environment(engine, environment=plan.environment)

    listener = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setting_up, "install", fake)
        problems = set_up(
            engine,
            environments=choose_environments(engine, only=only),
            machine=MACHINE,
            interpreters=[HERE],
            logs=root / "logs",
            listener=listener,
        )
    return problems, listener.steps


def test_an_engine_is_set_up_without_a_further_environment_that_cannot_be_built(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, more='[environments.another]\ncpu_features = ["amx"]\n')
    problems, steps = set_all_up(engine, tmp_path, "further", "another", failing=("further",))
    assert [problem.code for problem in problems] == [ErrorCode.INSTALL_FAILED] * 2
    assert sum("going on without it" in step for step in steps) == 2
    assert set_all_up(engine, tmp_path, failing=())[0][0].detail.endswith("use another engine on this machine")


@pytest.mark.parametrize("only", [(), ("default",), ("further",)])
def test_an_engine_is_not_set_up_without_what_it_needs(tmp_path: Path, only: tuple[str, ...]) -> None:
    engine = make_engine(tmp_path)
    with pytest.raises(IroncladError, match="cannot be built"):
        set_all_up(engine, tmp_path, *only, failing=("default", "further"))


def test_an_environment_that_is_there_is_left_alone(installed: InstalledEngine, tmp_path: Path) -> None:
    problems, steps = set_all_up(installed, tmp_path, "default", failing=("default",))
    assert (problems, steps) == ((), ["fake: is installed and up to date"])


def test_an_environment_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IroncladError, match="no environment 'gpu', only default, further") as caught:
        choose_environments(make_engine(tmp_path), only=["gpu"])
    assert caught.value.code is ErrorCode.BAD_OPTION


# Locks and questions


def test_a_lock_is_held_by_whoever_inherited_it(tmp_path: Path) -> None:
    busy = failure(ErrorCode.INSTALL_FAILED, "busy")
    with hold_lock(tmp_path / "deep" / "lock", busy=busy) as descriptor:
        child = subprocess.Popen(["sleep", "30"], pass_fds=(descriptor,))
    try:
        with pytest.raises(IroncladError, match="busy"), hold_lock(tmp_path / "deep" / "lock", busy=busy):
            pass
    finally:
        child.kill()
        child.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with hold_lock(tmp_path / "deep" / "lock", busy=busy):
            break


@pytest.mark.parametrize(
    ("script", "said"),
    [("echo crashed >&2; exit 3", "ended with status 3: crashed"), ("exit 0", "it printed nothing")],
)
def test_an_interpreter_that_gives_no_answer_says_why(tmp_path: Path, script: str, said: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(ProbeError, match=said):
        read_contents(python, modules=[], variables={})


def test_an_interpreter_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="does not start"):
        read_contents(tmp_path / "python", modules=[], variables={})
