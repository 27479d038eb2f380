"""The template of a plugin: a copy is installed without the network, found by name, keeps the laws, and is renamed."""

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
TEMPLATE = ROOT / "plugins" / "scorekit-template"

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


def copied(folder: Path) -> Path:
    """A copy of the template, which keeps its files but has a build backend that is here."""
    copy = folder / "copy"
    shutil.copytree(TEMPLATE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def installed(copy: Path, target: Path) -> Path:
    """A folder into which pip has installed a copy, without the network."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this environment has no pip")
    project = target.with_name(target.name + "-project")
    shutil.copytree(copy, project)
    text = (project / "pyproject.toml").read_text()
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (project / "pyproject.toml").write_text(re.sub(r"\[build-system\]\n(.+\n)+", system, text))
    (project / "backend.py").write_text(BACKEND)
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-cache-dir"]
    command = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", str(target), str(project)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target


def python(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A process in which scorekit, and what is in `path`, can be imported."""
    folders = os.pathsep.join(str(folder) for folder in (path, ROOT) if folder is not None)
    environment = os.environ | {"PYTHONPATH": folders, "OMP_NUM_THREADS": "1", DISABLE: ""}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def own_tests(copy: Path, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A copy's tests, as its author runs them."""
    return python("-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "tests", cwd=copy, path=path)


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder, but for rename.py."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "rename.py" and "__pycache__" not in path.parts
    }


def test_an_installed_copy_is_found_by_name_and_passes_its_own_tests(tmp_path: Path):
    copy = copied(tmp_path)
    target = installed(copy, tmp_path / "target")
    listed = python("-c", "import scorekit as sk; print(sk.plugins()[-1])", cwd=tmp_path, path=target)
    assert "'scorekit-template'" in listed.stdout, listed.stderr
    assert "error=None" in listed.stdout
    done = own_tests(copy, target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout


@pytest.mark.slow
def test_its_own_tests_reject_a_fault(tmp_path: Path):
    copy = copied(tmp_path)
    module = copy / "src" / "scorekit_template" / "__init__.py"
    text = module.read_text()
    module.write_text(text.replace("sum_event(drift.square())", "drift.square().mean().expand(len(drift))"))
    assert module.read_text() != text
    done = own_tests(copy, copy / "src", "-k", "proposal")
    assert done.returncode == 1, done.stdout
    assert "a row depends on no other row" in done.stdout


def test_a_copy_is_renamed_once(tmp_path: Path):
    copy = copied(tmp_path)
    done = python("rename.py", "my-sampler", cwd=copy)
    assert done.returncode == 0, done.stderr
    assert "renamed to scorekit-my-sampler" in done.stdout
    found = contents(copy)
    assert "src/scorekit_my_sampler/__init__.py" in found
    assert [
        name for name, text in found.items() if re.search(r"(?i)scorekit.template|templatep|\"template\"", text)
    ] == []
    again = python("rename.py", "another", cwd=copy)
    assert again.returncode == 1
    assert "has its name already" in again.stderr
    assert contents(copy) == found
    target = installed(copy, tmp_path / "target")
    made = python(
        "-c", "import scorekit as sk; print(sk.make('proposals', 'my-sampler', taming=0.5))", cwd=tmp_path, path=target
    )
    assert made.stdout.strip() == "MySamplerProposal(taming=0.5)", made.stderr
    tested = own_tests(copy, target, "-k", "found_by_name or refused")
    assert "2 passed" in tested.stdout, tested.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["My_Sampler"], "is not kebab case"),
        (["2fast"], "is not kebab case"),
        (["a--b"], "is not kebab case"),
        (["../up"], "is not kebab case"),
        (["scorekit-mine"], "is taken"),
        (["template"], "is taken"),
        (["lambda"], "is taken"),
        ([], "usage"),
        (["one", "two"], "usage"),
    ],
)
def test_bad_names_are_refused_and_nothing_is_written(arguments: list[str], message: str, tmp_path: Path):
    copy = copied(tmp_path)
    done = python("rename.py", *arguments, cwd=copy)
    assert done.returncode == 1
    assert message in done.stderr
    assert contents(copy) == contents(TEMPLATE)


def test_the_template_needs_what_the_kit_brings():
    text = (TEMPLATE / "pyproject.toml").read_text()
    assert 'dependencies = ["scorekit"]' in text
    assert 'test = ["scorekit[testing]"]' in text
    code = (TEMPLATE / "src" / "scorekit_template" / "__init__.py").read_text()
    imported = set(re.findall(r"(?m)^(?:from|import) ([\w.]+)", code))
    assert imported == {"collections.abc", "dataclasses", "typing", "torch", "scorekit", "scorekit.base"}
