"""Small conditional runs: a class label or a vector of two numbers for each example, and a network that needs it."""

from typing import Literal

import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit.data import Source, as_source
from scorekit.training import Training, TrainingConfig
from tests.training.runs import NUM_EXAMPLES, Net, config, examples

Kind = Literal["labels", "vectors"]
KINDS: tuple[Kind, ...] = ("labels", "vectors")


class ConditionalNet(nn.Module):
    """`Net` of x moved by what the condition says."""

    def __init__(self, kind: Kind = "labels", dtype: torch.dtype = torch.float32):
        super().__init__()
        self.net = Net(dtype=dtype)
        self.move = (nn.Embedding(3, 2) if kind == "labels" else nn.Linear(2, 2, bias=False)).to(dtype)
        generator = torch.Generator().manual_seed(2)
        self.move.weight.data = torch.randn(self.move.weight.shape, generator=generator).to(dtype)

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        return self.net(x + self.move(condition), sigma)


def objective(kind: Kind = "labels", dtype: torch.dtype = torch.float32, estimator=None) -> sk.Objective:
    model = sk.DirectScore(ConditionalNet(kind, dtype))
    return sk.Objective(model, estimator or sk.DenoisingScoreMatching(), sk.Geometric(1.0, 0.1, 4))


def conditions(kind: Kind, count: int = NUM_EXAMPLES, seed: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if kind == "labels":
        return torch.randint(3, (count,), generator=generator)
    return torch.randn(count, 2, generator=generator, dtype=torch.float64)


def source(kind: Kind, count: int = NUM_EXAMPLES, dtype: torch.dtype = torch.float32) -> Source:
    return as_source(examples(count, dtype), condition=conditions(kind, count))


def training(kind: Kind, data: Source | None = None, settings: TrainingConfig | None = None) -> Training:
    return Training(objective(kind), source(kind) if data is None else data, settings or config())
