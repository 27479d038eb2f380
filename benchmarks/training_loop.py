"""What the training loop costs over a bare loop of forward, backward and Adam's step: benchmarks/training_loop.py.

Both loops train the same network on the same data with the same per-example draws; they alternate in blocks, in one
process, on one thread, and the ratio is the median over pairs of blocks of CPU time. Goal: at most 1.02.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from _timing import machine, paired_ratio

import scorekit as sk
from scorekit.base import PerChain
from scorekit.training import Training, TrainingConfig

BATCH = 128


def bare(objective: sk.Objective, data: torch.Tensor) -> Iterator[float]:
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)
    draws, step = PerChain(0), 0
    while True:
        for indices in torch.randperm(len(data)).split(BATCH):
            step += 1
            loss = objective(data[indices], generator=draws.fork(step)).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            yield loss.item()


def ours(objective: sk.Objective, data: torch.Tensor) -> Iterator[object]:
    return Training(objective, data, TrainingConfig(num_steps=10**9, batch_size=BATCH)).steps()


def compare(name: str, make: Callable[[], sk.Objective], data: torch.Tensor, count: int, rounds: int) -> None:
    mine, plain = ours(make(), data), bare(make(), data)
    a, b, ratio = paired_ratio(lambda: exhaust(mine, count), lambda: exhaust(plain, count), rounds=rounds)
    times = f"bare {1e3 * b / count:.2f} ms, scorekit {1e3 * a / count:.2f} ms a step"
    print(f"{name}: {times}; median ratio {ratio:.3f} over {rounds} rounds (goal 1.02)")


def exhaust(steps: Iterator[object], count: int) -> None:
    for _ in islice(steps, count):
        pass


def mlp() -> sk.Objective:
    net = sk.networks.MLP(event_shape=(2,), width=128)
    return sk.Objective(sk.DirectScore(net), sk.DenoisingScoreMatching(), sk.Geometric())


def refinenet() -> sk.Objective:
    noise = sk.Geometric()
    net = sk.networks.RefineNet(image_shape=(1, 8, 8), width=16, noise=noise)
    return sk.Objective(sk.DirectScore(net), sk.DenoisingScoreMatching(), noise)


def main() -> None:
    torch.set_num_threads(1)
    print(machine())
    compare("MLP 2-128-128-2", mlp, torch.randn(80 * BATCH, 2), count=50, rounds=25)
    compare("RefineNet 1x8x8, width 16", refinenet, torch.rand(15 * BATCH, 1, 8, 8), count=3, rounds=5)


if __name__ == "__main__":
    main()
