"""Fixed seeds, one thread, derandomised hypothesis: a test gives the same verdict on every run."""

import signal
import threading
import zlib

import pytest
import torch
from hypothesis import settings

from scorekit import PerChain

if threading.current_thread() is threading.main_thread():  # a shell starts background jobs with SIGINT ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # convolutions and long sums are not bit-equal across thread counts
settings.register_profile("scorekit", derandomize=True, max_examples=25, deadline=None, database=None)
settings.load_profile("scorekit")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reseed", type=int, default=0, help="N: other seeds for every test, to see which were lucky")


def seed_of(item: pytest.Item) -> int:
    """A seed of the test's own: under a common one, the false alarms of two tests would coincide."""
    return zlib.crc32(item.nodeid.encode(), item.config.getoption("--reseed"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seeds torch's global generator, from which networks draw their weights: no test depends on those before it."""
    torch.manual_seed(seed_of(item))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    return seed_of(request.node)


@pytest.fixture
def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def streams(seed: int) -> PerChain:
    return PerChain(seed)
