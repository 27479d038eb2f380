"""Small models of 8x8 pictures, samplers, extractors; runs with several checkpoints; processes in lockstep."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

import scorekit as sk
from scorekit.checkpoint import CheckpointStore, tensors
from scorekit.checkpoint.model import CONFIG, EMA, RAW, config_file
from scorekit.evaluation import FunctionExtractor
from scorekit.training.runtime import Runtime

SHAPE = (1, 8, 8)
NOISE = sk.Geometric(1.0, 0.1, 3)
LANGEVIN = sk.annealed_langevin(NOISE, steps_per_level=2)
T = TypeVar("T")


def model(seed: int = 0) -> sk.ScoreModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = sk.ScaledScore(sk.networks.MLP(event_shape=SHAPE, width=8, depth=1))
    made.set_moments(torch.full(SHAPE, 0.3), torch.full(SHAPE, 0.3))
    return made


def pixels(images: Tensor) -> Tensor:
    """Sixteen of the 64 pixels, those that vary most."""
    return images.flatten(1)[:, 18:46:2]


def extractor(name: str = "fourteen pixels") -> FunctionExtractor:
    return FunctionExtractor(lambda images: (pixels(images), 5 * images.flatten(1)[:, :10]), name)


def store_run(folder: Path, weights: dict[int, Tensor | float]) -> Path:
    """A run's checkpoints: step -> what the score's weights are multiplied by; raw weights are not."""
    store = CheckpointStore(folder / "checkpoint")
    for step, factor in weights.items():
        plain = model().state_dict()
        scaled = {name: value if name.startswith("data_") else value * factor for name, value in plain.items()}
        files = {
            RAW: tensors.encode(plain),
            EMA: tensors.encode(scaled),
            CONFIG: config_file(sk.to_config(model())),
        }
        store.write(step, files, keep_last=len(weights))
    return folder


class Rank(Runtime):
    """One of P processes, which are threads here."""

    def __init__(self, rank: int, num_processes: int, barrier: threading.Barrier, board: list):
        super().__init__(torch.device("cpu"), rank, num_processes)
        self._barrier, self._board = barrier, board

    def gather(self, values: Tensor) -> Tensor:
        self._board[self.rank] = values
        self._barrier.wait(30)
        found = torch.stack(list(self._board))
        self._barrier.wait(30)
        return found

    def mean(self, values: Tensor) -> Tensor:
        return self.gather(values).mean(0)

    prepare = loss = piece = backward = grad_norm = update = scaler_state = load_scaler_state = None


def on_processes(num_processes: int, work: Callable[[Runtime], T]) -> list[T]:
    """What each of P processes returns."""
    barrier, board = threading.Barrier(num_processes), [None] * num_processes
    found: list = [None] * num_processes

    def run(rank: int) -> None:
        try:
            found[rank] = work(Rank(rank, num_processes, barrier, board))
        except BaseException as error:
            found[rank] = error
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(num_processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found
