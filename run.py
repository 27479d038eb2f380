"""Run a command in this project's own environment, which is made first if it is missing.

    python3 run.py examples/cifar10_ncsn.py
    python3 run.py -m pytest

What follows run.py is handed to the Python of .venv, in the current folder. The first run makes .venv and installs the
project and its development tools, as pinned in constraints.txt; so does a run after pyproject.toml, constraints.txt or
the place of the project's folder has changed. Any other run reads three small files and becomes the command itself: the
command gets Ctrl-C and SIGTERM, its exit code comes back, and neither pip nor the network is needed. A run that meets
another one's set-up waits for it; a set-up that was cut off begins again. Standard library only.
"""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit("scorekit needs Python 3.11, 3.12 or 3.13; this is %s (%s)" % (sys.version.split()[0], sys.executable))  # noqa: UP031

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: two set-ups at once are not kept apart there
    fcntl = None

ROOT = Path(__file__).resolve().parent
ENV = ROOT / ".venv"
PYTHON = ENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = ENV / "run.installed"  # what was installed, written last
UNFINISHED = ENV / "run.unfinished"  # there while a set-up is under way
LOCK = ENV / "run.lock"


def main(arguments: list[str]) -> int:
    """Make the environment if need be, then become `python arguments`."""
    if not ready():
        before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # which ends pip too
        try:
            with locked():
                if not ready():  # another run may have made it meanwhile
                    set_up()
        except KeyboardInterrupt:
            say("interrupted: the next run begins the set-up again")
            return 128 + signal.SIGINT
        signal.signal(signal.SIGTERM, before)
    if not arguments:
        say("ready; give it a script or a module, as in: python3 run.py -m pytest")
        return 0
    return become([str(PYTHON), *arguments])


def ready() -> bool:
    """True if what was installed is what is wanted, and nothing was cut off."""
    return STAMP.is_file() and not UNFINISHED.exists() and PYTHON.exists() and STAMP.read_text() == fingerprint()


def fingerprint() -> str:
    """A hash of what an environment depends on: the pins, the project's place, the Python underneath."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    parts += [os.fsencode(ROOT), os.fsencode(os.path.realpath(PYTHON))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Alone in the set-up. pip inherits the lock, so that a pip whose parent was killed is waited for as well."""
    try:
        ENV.mkdir(exist_ok=True)
        lock = LOCK.open("a")
    except OSError as error:
        sys.exit(f"run.py: cannot write to {ENV}: {error.strerror}")
    with lock:
        if fcntl is not None:
            os.set_inheritable(lock.fileno(), True)
            wait_for(lock)
        yield


def wait_for(lock: IO[str]) -> None:
    """Take the lock, and say so if another run has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another run is setting up .venv: waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        say(f"this file system has no locks ({error.strerror}): let one set-up end before another begins")


def set_up() -> None:
    """Install the project and its tools into .venv; afresh if the last set-up was cut off or its Python has gone."""
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit("run.py: this Python makes no virtual environments; on Debian, Ubuntu: sudo apt install python3-venv")
    say("setting up .venv, once: about 1.6 GB on disk and a minute or more, by your connection")
    if UNFINISHED.exists() or broken():
        clear()
    UNFINISHED.touch()
    STAMP.unlink(missing_ok=True)
    if not PYTHON.exists():
        execute("making .venv", [sys.executable, "-m", "venv", str(ENV)])
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    what = ["--editable", f"{ROOT}[dev]", "--constraint", str(ROOT / "constraints.txt")]
    execute("pip install", [str(PYTHON), "-m", "pip", "install", *quiet, *what])
    STAMP.write_text(fingerprint())
    UNFINISHED.unlink()


def broken() -> bool:
    """True if the .venv that we made has no Python that runs; one that somebody else made is theirs to mend."""
    if not (ENV / "pyvenv.cfg").exists():
        return False
    probe = [str(PYTHON), "-c", "import sys, pip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"]
    with contextlib.suppress(OSError):
        if subprocess.run(probe, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            return False
    if not STAMP.exists():
        sys.exit(f"run.py: {ENV} was not made by run.py and has no pip on Python 3.11 to 3.13: move it away first")
    return True


def clear() -> None:
    """Empty .venv, which may be a link to a folder elsewhere, of everything but the lock."""
    for child in ENV.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        elif child != LOCK:
            child.unlink()


def execute(what: str, command: list[str]) -> None:
    """Run one command of the set-up; if it fails by itself, leave what there is for the next run to go on with."""
    settings = {**os.environ, "PIP_USER": "0"}  # a global `user = true` is refused in a venv
    code = subprocess.run(command, env=settings, stdout=sys.stderr, close_fds=False).returncode
    if code != 0:
        UNFINISHED.unlink()
        sys.exit(f"run.py: {what} failed with exit code {code}; its own messages are above")


def become(command: list[str]) -> int:
    """Replace this process by the command, as if .venv were activated; Windows cannot, and runs it below this one."""
    os.environ["VIRTUAL_ENV"] = str(ENV)
    os.environ["PATH"] = os.pathsep.join([str(PYTHON.parent), os.environ.get("PATH", os.defpath)])
    os.environ.pop("PYTHONHOME", None)
    if os.name == "nt":
        return subprocess.call(command)
    os.execv(command[0], command)


def say(message: str) -> None:
    """One line on the standard error: the standard output is the command's."""
    print(f"run.py: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
