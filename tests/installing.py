"""Installing a distribution with pip, without the network, and running Python with what was installed."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scorekit.plugin import DISABLE

ROOT = Path(__file__).parents[1]

BACKEND = '''
"""A build backend that needs no download: the packages under src, and the entry points."""

import tomllib
import zipfile
from pathlib import Path


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    name, version = project["name"].replace("-", "_"), project["version"]
    info = f"{name}-{version}.dist-info"
    points = "".join(f"{key} = {value}\\n" for key, value in project["entry-points"]["scorekit"].items())
    files = {path.relative_to("src").as_posix(): path.read_text() for path in Path("src").rglob("*.py")}
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: {project['name']}\\nVersion: {version}\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: backend\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{info}/entry_points.txt": f"[scorekit]\\n{points}",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\\n" for path in [*files, f"{info}/RECORD"])
    wheel = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel
'''
SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def installed(project: Path, target: Path) -> Path:
    """The folder `target`, into which pip has installed a distribution (its modules under src), without the network."""
    if importlib.util.find_spec("pip") is None:
        # Never with the project's own command: run.py makes an environment with pip, and refuses one without. Those of
        # other tools (uv) may have none, and a wheel unpacked by hand would not show what `pip install` does.
        pytest.skip("this environment has no pip: python3 run.py -m pytest makes one that has")
    copy = target.with_name(f"{target.name}-project")
    shutil.copytree(project, copy)
    text = (copy / "pyproject.toml").read_text()
    (copy / "pyproject.toml").write_text(SYSTEM + re.sub(r"\[build-system\]\n(.+\n)+", "", text))
    (copy / "backend.py").write_text(BACKEND)
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-cache-dir"]
    command = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", str(target), str(copy)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target


def python(
    *arguments: str, folders: tuple[Path, ...] = (), cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A process in which scorekit, and what is in the folders, can be imported, and every plugin is looked for."""
    path = os.pathsep.join(map(str, (*folders, ROOT)))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", DISABLE: ""} | variables
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
