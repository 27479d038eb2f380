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


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed of the test's own: under a common one, the false alarms of two tests would coincide."""
    return zlib.crc32(request.node.nodeid.encode())


@pytest.fixture
def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def streams(seed: int) -> PerChain:
    return PerChain(seed)
