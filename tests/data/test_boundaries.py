"""What the package must not do: run pickle, unpack, import heavy libraries early."""

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import scorekit.data
from scorekit.data import cifar, digits, open_images

from .makers import cifar_files, cifar_members, mnist_files, random_picture, tar_bytes, write_files, write_picture

SOURCES = sorted(Path(scorekit.data.__file__).parent.glob("*.py"))
FORBIDDEN = {
    "pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "joblib",
    "eval",
    "exec",
    "extractall",
    "extract",
    "Untar",
}


def forbidden(source: str) -> set[str]:
    """Forbidden names that a module imports or uses, and torch.load and numpy.load."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found |= {part for name in names for part in name.split(".")} & FORBIDDEN
        if isinstance(node, ast.Name):
            found |= {node.id} & FORBIDDEN
        if isinstance(node, ast.Attribute):
            found |= {node.attr} & (FORBIDDEN | {"load"})
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_reader_can_unpickle_or_unpack(path):
    assert forbidden(path.read_text()) == set()


@pytest.mark.parametrize(
    "mutant", ["import pickle", "x = torch.load(p)", "archive.extractall(p)", "from pickle import loads"]
)
def test_the_walk_sees_mutants(mutant):
    assert forbidden(mutant)


def test_no_reader_runs_pickle(tmp_path, generator, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle was run")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(cifar, "_RECORDS", 10)
    contents = cifar_files(10, generator)
    write_files(tmp_path / "cifar", contents)
    (tmp_path / "cifar.tar.gz").write_bytes(tar_bytes(cifar_members(contents)))
    write_files(tmp_path / "mnist", mnist_files(generator))
    write_picture(tmp_path / "pictures" / "1.png", random_picture(generator, 8, 8, 3))
    write_picture(tmp_path / "celeba" / "1.png", random_picture(generator, 218, 178, 3))
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("1.png 0\n")
    for name in ("cifar", "cifar.tar.gz", "mnist", "pictures", "celeba"):
        assert len(open_images(tmp_path / name)) > 0
    digits()
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(AssertionError, match="pickle was run"):  # the guard bites
        np.load(tmp_path / "x.npy", allow_pickle=True)


def test_the_import_is_light():
    heavy = ["PIL", "sklearn", "pooch", "requests", "matplotlib", "accelerate", "scipy.stats"]
    code = f"import sys, scorekit.data; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    assert result.stdout.strip() == "[]"


def test_every_public_name_exists():
    assert sorted(scorekit.data.__all__) == sorted(set(scorekit.data.__all__))
    assert all(getattr(scorekit.data, name).__doc__ for name in scorekit.data.__all__)


@pytest.mark.parametrize(
    ("module", "call"),
    [("sklearn.datasets", lambda: digits()), ("pooch", lambda: scorekit.data.download("mnist", cache_dir="x"))],
)
def test_a_missing_extra_says_what_to_install(monkeypatch, module, call):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'scorekit\[data\]'"):
        call()
