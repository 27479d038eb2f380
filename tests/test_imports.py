"""The package and its examples leave every setting of the process alone when they are imported.

A peer sets torch's default type as it is imported, and with it the results of whoever imports it.
"""

import json
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator

import pytest
import torch

from tests import scripts
from tests.importing import EXAMPLES, changed
from tests.installing import python


def test_importing_the_package_and_its_examples_changes_no_setting_of_the_process():
    done = python("-m", "tests.importing")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: [] for name in ("scorekit", *(path.stem for path in EXAMPLES))}


MUTANTS = {
    "default type": "import torch; torch.set_default_dtype(torch.float64)",
    "autograd": "import torch; torch.set_grad_enabled(False)",
    "matmul": "import torch; torch.set_float32_matmul_precision('medium')",
    "torch's random state": "import torch; torch.manual_seed(0)",
    "python's random state": "import random; random.seed(0)",
    "warnings": "import warnings; warnings.simplefilter('ignore')",
    "logging": "import logging; logging.basicConfig(level=10, force=True)",
    "environment": "import os; os.environ['KMP_DUPLICATE_LIB_OK'] = 'TRUE'",
    "path": "import sys; sys.path.insert(0, 'somewhere')",
}


@pytest.fixture
def restored(monkeypatch) -> Iterator[None]:
    """Puts back what the mutants change."""
    precision, state = torch.get_float32_matmul_precision(), random.getstate()
    level, handlers = logging.root.level, list(logging.root.handlers)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(sys, "path", list(sys.path))
    with warnings.catch_warnings():
        yield
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_float32_matmul_precision(precision)
    random.setstate(state)
    logging.root.handlers[:], logging.root.level = handlers, level


@pytest.mark.parametrize("name", MUTANTS)
def test_a_module_that_changes_one_is_seen(name, tmp_path, monkeypatch, restored):
    path = tmp_path / "mutant_of_imports.py"
    path.write_text(MUTANTS[name])
    monkeypatch.setitem(sys.modules, path.stem, sys)  # what `load` puts there goes again
    assert changed(lambda: scripts.load(path)) == [name]
