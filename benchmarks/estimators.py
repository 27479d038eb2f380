r"""What one gradient of each estimator costs, relative to denoising: python3 run.py benchmarks/estimators.py.

One gradient is `Objective` and `backward` on a batch of 128 with a perceptron of two hidden layers of 256 units, at one
noise level; in 2, 10, 100 and 784 dimensions. The estimator and denoising take turns, in one process, on one thread;
times are CPU times, a ratio is the median over the rounds. The energies are compared with denoising of the same energy.

Memory is what autograd holds for the backward pass, each storage once, without the parameters, relative to
denoising's; not of energies, since `torch.func` allows no hook there.

With --env, the isolated environment of peers.py, one gradient of plain sliced matching of an energy (one probe, clean
data) is also timed against torchebm's, the two processes in turn; the ratio is torchebm's time over ours.
Both start from the same weights; their losses, over the random probes, must agree within 4.9 standard errors.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _memory import kept_bytes
from _peers.environment import CACHE, peers
from _peers.lines import BATCH, WIDTH
from _peers.serving import LOSSES, Worker
from _timing import machine, paired_ratio
from peers import over_chains

import scorekit as sk
from scorekit.base import Estimator, ScoreModel

SIZES = (2, 10, 100, 784)
EXACT_UP_TO = 100  # the exact trace takes minutes and gigabytes in 784 dimensions
SIGMA = 0.5

ESTIMATORS: dict[str, Estimator] = {
    "denoising, antithetic": sk.DenoisingScoreMatching("antithetic"),
    "denoising, control variate": sk.DenoisingScoreMatching("control_variate"),
    "sliced": sk.SlicedScoreMatching(variance_reduction=False),
    "sliced, variance-reduced": sk.SlicedScoreMatching(),
    "finite difference": sk.FiniteDifferenceSliced(),
    "implicit, exact trace": sk.ImplicitScoreMatching(),
}
OF_AN_ENERGY = ("sliced", "finite difference")


def score_model(size: int) -> ScoreModel:
    return sk.DirectScore(sk.networks.MLP((size,), width=WIDTH, conditional=False))


def energy_model(size: int) -> ScoreModel:
    return sk.EnergyModel(sk.networks.ScalarMLP((size,), width=WIDTH, conditional=False))


def gradient(model: ScoreModel, estimator: Estimator, size: int) -> Callable[[], None]:
    """One gradient of the objective, for the parameters."""
    objective, generator = sk.Objective(model, estimator, sk.SingleLevel(SIGMA)), torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, size, generator=generator)

    def once() -> None:
        model.zero_grad()
        objective(x, generator=generator).loss.backward()

    return once


def repeated(work: Callable[[], None], times: int) -> Callable[[], None]:
    def block() -> None:
        for _ in range(times):
            work()

    return block


def memory_of(model: ScoreModel, estimator: Estimator, size: int) -> int:
    """Bytes that autograd holds when the loss is there."""
    objective = sk.Objective(model, estimator, sk.SingleLevel(SIGMA))
    return kept_bytes(lambda: objective(torch.randn(BATCH, size)).loss, model)


def compare(
    title: str, make: Callable[[int], ScoreModel], estimator: Estimator, rounds: int, memory: bool = True
) -> None:
    """One row: time and memory over denoising's, by dimension."""
    cells, denoising = [], sk.DenoisingScoreMatching()
    for size in SIZES:
        if isinstance(estimator, sk.ImplicitScoreMatching) and size > EXACT_UP_TO:
            cells.append("-")
            continue
        model = make(size)
        times = 1 if isinstance(estimator, sk.ImplicitScoreMatching) and size >= EXACT_UP_TO else 10
        work = (repeated(gradient(model, kind, size), times) for kind in (estimator, denoising))
        _, _, ratio = paired_ratio(*work, rounds=rounds)
        cells.append(f"{ratio:.2f}")
        if memory:
            cells[-1] += f" ({memory_of(model, estimator, size) / memory_of(model, denoising, size):.1f}x)"
    print(f"{title:36}{''.join(f'{cell:>16}' for cell in cells)}", flush=True)


def against_torchebm(folder: Path, rounds: int) -> bool:
    """Plain sliced matching of an energy, ours and torchebm's in turn; False where the losses are not the same."""
    workers, sound = (Worker(Path(sys.executable), "ours"), Worker(peers(folder), "with_torchebm")), True
    print("\nsliced matching of an energy: ms a gradient of ours and of torchebm's, the ratio, the two mean losses")
    for size in SIZES:
        seconds: dict[Worker, list[float]] = {worker: [] for worker in workers}
        losses: dict[Worker, list[float]] = {worker: [] for worker in workers}
        for number in range(rounds):
            for worker in workers if number % 2 == 0 else reversed(workers):
                block, values = worker.losses(size)
                seconds[worker].append(block / LOSSES)
                losses[worker].extend(values)
        ours, other = seconds.values()
        ratio = statistics.median(theirs / mine for theirs, mine in zip(other, ours, strict=True))
        times = f"{1e3 * statistics.median(ours):7.2f} {1e3 * statistics.median(other):7.2f} {ratio:6.2f}"
        mine, theirs = (over_chains(np.array([values])) for values in losses.values())
        agree = mine.agrees(theirs)
        sound &= agree
        shown = f"{mine.mean:.5f} +- {mine.error:.5f}, {theirs.mean:.5f} +- {theirs.error:.5f}"
        print(f"d = {size:4} {times}   {shown}{'' if agree else '   void: the losses differ'}", flush=True)
    for worker in workers:
        worker.close()
    return sound


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, nargs="?", const=CACHE, help="compare with torchebm, in this environment")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(machine())
    print(f"one gradient, batch {BATCH}, over denoising's: time (memory)")
    print(" " * 36 + "".join(f"{f'd = {size}':>16}" for size in SIZES))
    for title, estimator in ESTIMATORS.items():
        compare(title, score_model, estimator, arguments.rounds)
    for title in OF_AN_ENERGY:
        compare(f"energy: {title}", energy_model, ESTIMATORS[title], arguments.rounds, memory=False)
    return 0 if arguments.env is None or against_torchebm(arguments.env, arguments.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
