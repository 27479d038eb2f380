"""An energy in closed form, a small network, and what the tests draw."""

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from scorekit.base import expand, sum_event
from scorekit.networks import ScalarMLP

EVENTS = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)
SEEDS = st.integers(0, 2**16 - 1)
MODES = [torch.enable_grad, torch.no_grad, torch.inference_mode]


def draws(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def levels(seed: int, batch: int) -> Tensor:
    return 0.1 + torch.rand(batch, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scalar(event: tuple[int, ...], seed: int = 0) -> ScalarMLP:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ScalarMLP(event, width=6, activation="tanh").double()


class Closed(nn.Module):
    """E = sum sin(a x) / (1 + sigma^2), whose gradient is a cos(a x) / (1 + sigma^2). It counts its calls."""

    def __init__(self, a: float = 1.5):
        super().__init__()
        self.a, self.calls = nn.Parameter(torch.tensor(a, dtype=torch.float64)), 0

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        self.calls += 1
        return sum_event((self.a.to(x.dtype) * x).sin()) / (1 + sigma**2) * (1 if condition is None else condition)

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        return -self.a * (self.a * x).cos() / expand(1 + sigma**2, x)
