"""What an import changes of the settings that a whole process shares: `python -m tests.importing` is such a process.

It imports the whole package and every example, and prints the names of the settings that each has changed. In a process
where the package was imported before, a setting that it makes would be made already, and so not change.
"""

import importlib
import json
import logging
import os
import pkgutil
import random
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tests import scripts

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
OTHERS = ("scipy.stats", "accelerate")  # both add to the filters of warnings when they are imported: not our doing


def settings() -> dict[str, object]:
    """Everything that one part of a process can change for all the others."""
    return {
        "default type": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "autograd": torch.is_grad_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32),
        "torch's random state": torch.get_rng_state().tolist(),
        "numpy's random state": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "numpy's errors": np.geterr(),
        "python's random state": random.getstate(),
        "warnings": list(warnings.filters),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "environment": dict(os.environ),
        "path": list(sys.path),
    }


def changed(work: Callable[[], object]) -> list[str]:
    """The names of the settings that are others after the work."""
    before = settings()
    work()
    after = settings()
    return [name for name in before if before[name] != after[name]]


def import_everything() -> None:
    """All of the package, module by module."""
    for module in pkgutil.walk_packages(importlib.import_module("scorekit").__path__, "scorekit."):
        importlib.import_module(module.name)


def main() -> None:
    for name in OTHERS:
        importlib.import_module(name)
    found = {"scorekit": changed(import_everything)}
    found |= {path.stem: changed(partial(scripts.load, path)) for path in EXAMPLES}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
