"""The template of a plugin: a copy is installed without the network, found by name, keeps the laws, and is renamed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.installing import ROOT, installed, python

TEMPLATE = ROOT / "plugins" / "scorekit-template"


def copied(folder: Path) -> Path:
    """A copy of the template."""
    copy = folder / "copy"
    shutil.copytree(TEMPLATE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def own_tests(copy: Path, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A copy's tests, as its author runs them."""
    return python("-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "tests", cwd=copy, folders=(path,))


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
    listed = python("-c", "import scorekit as sk; print(sk.plugins()[-1])", cwd=tmp_path, folders=(target,))
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
        "-c",
        "import scorekit as sk; print(sk.make('proposals', 'my-sampler', taming=0.5))",
        cwd=tmp_path,
        folders=(target,),
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
