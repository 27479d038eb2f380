"""The isolated environment of the other libraries: with the torch of this one, to the letter, and without scorekit."""

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".peers"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def interpreter(folder: Path) -> Path:
    """The environment's Python, there or not."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def peers(folder: Path = CACHE) -> Path:
    """The Python of the environment at `folder`, which is made or brought up to date first.

    Raises:
        SystemExit: if pip fails, or the torch that it installed is not this one: times of two torches are not compared.
    """
    python, stamp = interpreter(folder), folder / "peers.installed"
    wanted = f"{sys.version}\ntorch=={torch.__version__}\n{REQUIREMENTS.read_text()}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"setting up {folder}, once: about 1.4 GB on disk and a minute or more", file=sys.stderr)
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(folder)])
    pins = ["--requirement", str(REQUIREMENTS), "--constraint", str(ROOT / "constraints.txt")]
    _run([str(python), "-m", "pip", "install", "--quiet", f"torch=={torch.__version__}", *pins])
    there = _run([str(python), "-c", "import torch; print(torch.__version__)"]).strip()
    if there != torch.__version__:
        raise SystemExit(f"{folder} has torch {there}, and scorekit runs on {torch.__version__}: expected the same")
    stamp.write_text(wanted)
    return python


def _run(command: list[str]) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PIP_USER": "0"})
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed with code {done.returncode}; its own messages are above")
    return done.stdout
