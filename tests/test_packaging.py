"""The project's files agree with one another, and run.py does what it says (in an environment whose pip is a fake)."""

import ast
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.11.2", "3.11.9", "3.12.1", "3.13.0")
EXTRAS = PROJECT["project"]["optional-dependencies"]

posix = pytest.mark.skipif(os.name == "nt", reason="run.py replaces its process and locks files on POSIX systems only")


# -------------------------------------------------------------------------------------------------- pins and metadata


def pins(text: str, python: str) -> dict[str, list[Requirement]]:
    """The constraints that hold for a Python version, by package."""
    environment = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    found: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def disagreements(constraints: str, requirements: list[str]) -> list[str]:
    """Requirements without exactly one pin that meets them, for some Python."""
    faults = []
    for python in PYTHONS:
        known = pins(constraints, python)
        faults += [f"{name}: {len(given)} pins on {python}" for name, given in known.items() if len(given) != 1]
        for requirement in map(Requirement, requirements):
            name = canonicalize_name(requirement.name)
            versions = [spec.version for pin in known.get(name, ()) for spec in pin.specifier if spec.operator == "=="]
            if name != "scorekit" and not (len(versions) == 1 and requirement.specifier.contains(versions[0])):
                faults.append(f"{requirement}: {versions} on {python}")
    return faults


def test_each_dependency_has_one_pin_that_meets_it():
    requirements = PROJECT["project"]["dependencies"] + [each for extra in EXTRAS.values() for each in extra]
    constraints = (ROOT / "constraints.txt").read_text()
    assert disagreements(constraints, requirements) == []
    assert disagreements(re.sub("(?m)^torch==.*$", "torch==2.1.0", constraints), requirements) != []
    assert disagreements(constraints.replace("sybil==", "sibyl=="), requirements) != []
    assert disagreements(constraints + "numpy==2.4.6\n", requirements) != []
    assert disagreements(constraints.replace('; python_full_version < "3.11.5"', ""), requirements) != []


def test_torch_is_pinned_without_a_local_version():
    assert [str(pin.specifier) for pin in pins((ROOT / "constraints.txt").read_text(), "3.11.9")["torch"]] == [
        "==2.13.0"
    ]


def test_what_all_and_dev_bring():
    brought = {name: Requirement(EXTRAS[name][0]).extras for name in ("all", "dev")}
    assert brought["all"] == EXTRAS.keys() - {"docs", "testing", "all", "dev"}
    assert brought["dev"] == EXTRAS.keys() - {"all", "dev", "eval"}  # its torchvision would ask for another torch


def test_the_source_distribution_is_complete():
    listed = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [name for name in listed if not (ROOT / name).exists()] == []
    files, folders = {"LICENSE", "README.md", "constraints.txt", "run.py", "conftest.py"}, {"tests", "docs", "plugins"}
    assert files | folders | {"scorekit"} <= set(listed)


def test_the_package_is_typed():
    assert (ROOT / "scorekit" / "py.typed").is_file()


def test_licence_and_metadata_agree():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert (ROOT / "LICENSE").read_text().split()[:2] == ["Apache", "License"]
    assert "\nlicense: Apache-2.0\n" in (ROOT / "CITATION.cff").read_text()


def test_ci_runs_the_command_of_the_readme_last():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[-1] == "python3 run.py -m pytest"
    assert lines[-1] in (ROOT / "README.md").read_text()
    assert "set -euo pipefail" in lines


# ------------------------------------------------------------------------------------------------------------ run.py


def test_run_needs_the_standard_library_only():
    tree = ast.parse(
        (ROOT / "run.py").read_text(), feature_version=(3, 7)
    )  # an older Python gets as far as the message
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize("version", [(3, 6, 9), (3, 10, 13), (3, 14, 0)])
def test_run_refuses_other_pythons_in_one_line(version: tuple[int, ...]):
    assert not SpecifierSet(PROJECT["project"]["requires-python"]).contains(".".join(map(str, version)))
    path = str(ROOT / "run.py")
    code = f"import runpy, sys; sys.version_info = {version}; runpy.run_path({path!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"scorekit needs Python 3.11, 3.12 or 3.13; this is .*\n", done.stderr)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with run.py, under a path with a space, whose .venv has a Python that only pretends to run pip."""
    root = tmp_path / "my project"
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for name in ("run.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    python.write_text(
        f"""#!/bin/sh
        if [ "$2" = pip ]; then
            echo "$@" >> {str(root / "pip.log")!r}; sleep "${{FAKE_SECONDS:-0}}"; exit "${{FAKE_CODE:-0}}"
        fi
        exec {sys.executable!r} "$@"
        """
    )
    python.chmod(0o755)
    return root


def start(root: Path, *arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.Popen[str]:
    command, environment = [sys.executable, str(root / "run.py"), *arguments], {**os.environ, **variables}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(root: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    process = start(root, *arguments, **variables)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def installations(root: Path) -> list[str]:
    log = root / "pip.log"
    return log.read_text().splitlines() if log.exists() else []


@posix
def test_run_sets_up_once_and_hands_on_arguments_and_exit_code(project: Path):
    code, out, err = run(project, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "a b", "--c")
    assert (code, out) == (7, "['a b', '--c']\n")
    assert "setting up .venv" in err
    (line,) = installations(project)
    assert line.endswith(f"--editable {project}[dev] --constraint {project / 'constraints.txt'}")
    assert run(project, "-c", "pass") == (0, "", "")
    assert len(installations(project)) == 1


@posix
@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_run_installs_again_when_a_pin_changes(name: str, project: Path):
    run(project, "-c", "pass")
    (project / name).write_text((project / name).read_text() + "# another\n")
    run(project, "-c", "pass")
    assert len(installations(project)) == 2


@posix
def test_run_installs_again_in_another_place(project: Path):
    run(project, "-c", "pass")
    moved = project.with_name("elsewhere")
    project.rename(moved)
    project.mkdir()  # where the fake pip writes its log
    run(moved, "-c", "pass")
    assert len(installations(project)) == 1


@posix
def test_run_says_when_pip_failed_and_tries_again(project: Path):
    code, out, err = run(project, "-c", "print('never')", FAKE_CODE="3")
    assert (code, out) == (1, "")
    assert "pip install failed with exit code 3" in err
    assert run(project, "-c", "pass")[0] == 0
    assert (project / ".venv" / "bin" / "python").exists()
    assert len(installations(project)) == 2


@posix
def test_two_runs_at_once_set_up_once(project: Path):
    first = start(project, "-c", "print(1)", FAKE_SECONDS="1")
    wait_until(lambda: installations(project))
    second = start(project, "-c", "print(2)", FAKE_SECONDS="1")
    (out, _), (out_2, err_2) = first.communicate(timeout=60), second.communicate(timeout=60)
    assert (out, out_2) == ("1\n", "2\n")
    assert "waiting" in err_2
    assert len(installations(project)) == 1


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_set_up_that_was_cut_off_is_marked(number: signal.Signals, code: int, project: Path):
    process = start(project, "-c", "print('never')", FAKE_SECONDS="1")
    wait_until(lambda: installations(project))
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert (project / ".venv" / "run.unfinished").exists()
    assert not (project / ".venv" / "run.installed").exists()


@posix
def test_the_command_gets_the_signals(project: Path):
    run(project, "-c", "pass")
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))"
    code = f"import signal, sys, time\n{handler}\nprint(1, flush=True)\ntime.sleep(30)"
    process = start(project, "-c", code)
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 5


@posix
def test_the_command_runs_in_the_callers_folder_as_in_an_active_environment(project: Path, tmp_path: Path):
    run(project, "-c", "pass")
    code = (
        "import os; print(os.getcwd(), os.environ['VIRTUAL_ENV'], os.environ['PATH'].split(os.pathsep)[0], sep='\\n')"
    )
    out, _ = start(project, "-c", code, cwd=tmp_path).communicate(timeout=60)
    assert out.splitlines() == [str(tmp_path), str(project / ".venv"), str(project / ".venv" / "bin")]


def wait_until(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def module(project: Path) -> ModuleType:
    """run.py of the project, imported."""
    spec = importlib.util.spec_from_file_location("project_run", project / "run.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@posix
def test_a_cut_off_set_up_begins_afresh(module: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch):
    outside = project / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    for folder in ("lib", "share"):
        (project / ".venv" / folder).mkdir()
        (project / ".venv" / folder / "half").touch()
    (project / ".venv" / "lib64").symlink_to(outside)
    (project / ".venv" / "run.unfinished").touch()
    monkeypatch.setattr(module, "execute", lambda what, command: left.append((what, sorted(os.listdir(module.ENV)))))
    left: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(module, "become", lambda command: 0)
    assert module.main(["-c", "pass"]) == 0
    assert left == [(what, ["run.lock", "run.unfinished"]) for what in ("making .venv", "pip install")]
    assert (outside / "kept").exists()
    assert not (project / ".venv" / "run.unfinished").exists()


@posix
def test_an_environment_of_somebody_else_is_left_alone(module: ModuleType, project: Path):
    (project / ".venv" / "pyvenv.cfg").touch()
    (project / ".venv" / "bin" / "python").unlink()
    with pytest.raises(SystemExit, match=r"was not made by run\.py"):
        module.broken()
    (project / ".venv" / "run.installed").touch()
    assert module.broken()


def test_a_python_without_venv_is_told_what_to_install(module: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="apt install python3-venv"):
        module.set_up()
