"""Small runs that exercise everything a checkpoint has to remember, and digests to compare them by."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit.checkpoint import CheckpointStore
from scorekit.training import Training, TrainingConfig, checkpoint, restore

NUM_EXAMPLES = 37  # no multiple of the batch: steps 5, 10, ... straddle two epochs


class Net(nn.Module):
    """A small network; its weights do not depend on any global state."""

    def __init__(self, width: int = 8, dtype: torch.dtype = torch.float32, dropout: float = 0.0):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.Softplus(), nn.Dropout(dropout), nn.Linear(width, 2)).to(
            dtype
        )
        generator = torch.Generator().manual_seed(0)
        for weight in self.parameters():
            weight.data = torch.randn(weight.shape, generator=generator).to(dtype) / 3

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.layers(torch.cat([x, sigma.log().unsqueeze(1)], dim=1))


def objective(**options) -> sk.Objective:
    return sk.Objective(sk.DirectScore(Net(**options)), sk.DenoisingScoreMatching(), sk.Geometric(1.0, 0.1, 4))


def examples(count: int = NUM_EXAMPLES, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(1)).to(dtype)


def config(**options) -> TrainingConfig:
    defaults = {"num_steps": 64, "batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 5, "decay": "cosine"}
    return TrainingConfig(**(defaults | {"ema_decay": 0.9, "clip_norm": 0.5, "seed": 3} | options))


def training(data=None, settings: TrainingConfig | None = None, **options) -> Training:
    return Training(objective(**options), examples() if data is None else data, settings or config())


def run_to(run: Training, step: int) -> None:
    for each in run.steps():
        if each.step == step:
            break


def finish(run: Training) -> str:
    for _ in run.steps():
        pass
    return digest(run)


def resumed(folder: Path, fresh: Training) -> Training:
    restore(fresh, CheckpointStore(folder).read())
    return fresh


def saved(folder: Path, run: Training) -> Path:
    checkpoint(run, CheckpointStore(folder))
    return folder


def digest(run: Training) -> str:
    """Of weights, average and optimiser."""
    tensors = [*run.model.state_dict().values()]
    tensors += [] if run.ema is None else [*run.ema.state_dict().values()]
    state = run.optimizer.state_dict()["state"]
    tensors += [state[index][name] for index in sorted(state) for name in sorted(state[index])]
    return digest_of(tensors)


def digest_of(tensors) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
