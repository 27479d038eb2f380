r"""Langevin, MALA and HMC against blackjax and torchebm: python3 run.py benchmarks/peers.py [--only WORD] [--rounds N].

Each library runs in a process of its own, the other two in an isolated environment (--env, made when missing). The
processes take turns: in every round each does one block of each line. Figures are CPU time per draw and chain, medians
over the rounds, on one thread; a ratio is the median over the rounds of the other's time over ours, so that more than 1
means that scorekit is the faster one.

Before a line is timed, the libraries are checked to do the same: the rate of acceptance and the mean squared jump of a
coordinate, at equilibrium, agree within 4.9 standard errors of their difference. A chain is one independent observation
of either, over 50 steps from an exact draw; each library has its own seed (with the same one scorekit and torchebm draw
the same numbers in the same order, and their chains are the same to rounding). Where they do not agree the line is
void, which is said in its place, and the script ends with code 1.

    ESS      bulk effective sample size a draw, the mean over the coordinates, of HMC on gauss100

The kernels are the same, so the ratio of effective samples a second is the ratio of times, but for the ESS's own noise.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _peers.environment import CACHE, peers
from _peers.lines import LINES, Line
from _peers.serving import Worker
from _timing import machine

import scorekit as sk

CHECKED = {"chains": 2048, "steps": 50}  # finds a step that is 5 % too long in each of the lines
FOR_ESS = {"chains": 128, "steps": 400}
BOUND = 4.9  # standard errors: one false alarm in a million comparisons


class Estimate(NamedTuple):
    """A mean over chains, and its standard error."""

    mean: float
    error: float

    def agrees(self, other: "Estimate") -> bool:
        """Whether two estimates are of the same number, as far as can be seen."""
        return abs(self.mean - other.mean) <= BOUND * np.hypot(self.error, other.error)


def over_chains(values: np.ndarray) -> Estimate:
    """The mean of values (T, B), whose columns are independent of one another."""
    chains = values.mean(0, dtype=np.float64)
    return Estimate(chains.mean(), chains.std(ddof=1) / len(chains) ** 0.5)


def acceptance(states: np.ndarray) -> Estimate:
    """How often a step of states (T + 1, B, d) moved its chain."""
    return over_chains((np.diff(states, axis=0) != 0).any(2))


def squared_jump(states: np.ndarray) -> Estimate:
    """The mean square of a step, a coordinate."""
    return over_chains(np.square(np.diff(states, axis=0)).mean(2))


def follow(worker: Worker, name: str, seed: int, run: dict[str, int]) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "states.npy")
        worker.ask("follow", line=name, seed=seed, file=str(file), **run)
        return np.load(file)


def ess_per_draw(states: np.ndarray) -> float:
    """The bulk effective sample size over the number of draws, the mean over the coordinates of states (T, B, d)."""
    chains = sk.Chains(torch.from_numpy(states), torch.zeros(len(states), dtype=torch.float64), None)
    return sk.metrics.effective_sample_size(chains).mean().item() / (states.shape[0] * states.shape[1])


def disagreements(followed: dict[str, np.ndarray], line: Line) -> Iterator[str]:
    """What differs between the first library's chains and the others', in words; and the line's acceptance, printed."""
    for what, measure in (("acceptance", acceptance), ("squared jump", squared_jump)):
        if what == "acceptance" and line.sampler == "langevin":
            continue
        (ours, mine), *others = ((title, measure(states)) for title, states in followed.items())
        print(f"    {what}: {', '.join(f'{t} {e.mean:.4f} +- {e.error:.4f}' for t, e in [(ours, mine), *others])}")
        yield from (
            f"{what} of {title} {other.mean:.4f}, of {ours} {mine.mean:.4f}"
            for title, other in others
            if not mine.agrees(other)
        )


def compare(name: str, workers: Sequence[Worker], rounds: int) -> bool:
    """Check and time one line; False where it is void."""
    line = LINES[name]
    print(name)
    followed = {w.title: follow(w, name, seed, CHECKED) for seed, w in enumerate(workers, start=1)}
    reasons = list(disagreements(followed, line))
    if reasons:
        print(f"    void: {'; '.join(reasons)}", flush=True)
        return False
    seconds: dict[str, list[float]] = {worker.title: [] for worker in workers}
    for number in range(rounds):
        for worker in (*workers[number % len(workers) :], *workers[: number % len(workers)]):
            seconds[worker.title].append(worker.seconds(name) / line.num_steps / line.num_chains)
    ours, *_ = seconds.values()
    for title, times in seconds.items():
        ratios = [other / mine for other, mine in zip(times, ours, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"    {title:10} {1e9 * statistics.median(times):8.0f} ns, {statistics.median(ratios):6.2f} ({spread})")
    if name == "hmc10-gauss100-64":
        for seed, worker in enumerate(workers, start=1):
            ess = ess_per_draw(follow(worker, name, seed, FOR_ESS)[1:])
            rate = ess / statistics.median(seconds[worker.title])
            print(f"    {worker.title:10} ESS {ess:.3f} a draw, {rate:,.0f} a second")
    sys.stdout.flush()
    return True


@contextmanager
def workers_of(folder: Path) -> Iterator[list[Worker]]:
    """Ours and the others, ended at the end."""
    python = peers(folder)
    workers = [
        Worker(Path(sys.executable), "ours"),
        *(Worker(python, f"with_{name}") for name in ("blackjax", "torchebm")),
    ]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, default=CACHE, help="the folder of the isolated environment")
    parser.add_argument("--only", default="", help="the lines with this in their names")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    names = [name for name in LINES if arguments.only in name]
    if not names or arguments.rounds < 1:
        parser.error(
            f"--only {arguments.only!r} --rounds {arguments.rounds}: one line of {', '.join(LINES)}, one round"
        )
    torch.set_num_threads(1)
    print(machine())
    with workers_of(arguments.env) as workers:
        versions = {name: version for worker in workers for name, version in worker.versions().items()}
        print(", ".join(f"{name} {version}" for name, version in versions.items()))
        print("CPU time per draw and chain; the other's over ours (range over rounds)")
        sound = [compare(name, workers, arguments.rounds) for name in names]
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
