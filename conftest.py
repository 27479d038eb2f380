"""The code in the documents is run: the ```python blocks of docs/*.md and README.md, and the docstrings of the package.

Each document has one namespace, so that a block goes on from the one before it, and one working folder, which is empty
at first. The blocks of a document stay on one worker of pytest-xdist and in their order.
"""

import os
import tempfile

import pytest
import torch
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser
from sybil.parsers.rest import DocTestParser
from xdist.scheduler import LoadFileScheduling


def enter_folder(namespace):
    namespace["_before"], namespace["_folder"] = os.getcwd(), tempfile.TemporaryDirectory()
    os.chdir(namespace["_folder"].name)
    torch.manual_seed(0)  # a page gives the same numbers each time


def leave_folder(namespace):
    os.chdir(namespace["_before"])
    namespace["_folder"].cleanup()


pages = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["docs/*.md", "docs/**/*.md", "README.md"],
    setup=enter_folder,
    teardown=leave_folder,
)
docstrings = Sybil(
    parsers=[DocTestParser()], patterns=["scorekit/**/*.py", "scorekit/*.py"], setup=enter_folder, teardown=leave_folder
)
pytest_collect_file = (pages + docstrings).pytest()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return LoadFileScheduling(config, log)
