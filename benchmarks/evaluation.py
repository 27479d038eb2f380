"""What evaluating samples costs: python3 run.py benchmarks/evaluation.py. Four minutes of one core, scipy's mostly.

Memory: how far the resident memory of a process grows (its peak) between 1,000 and 100,000 samples that stream by, with
64 features each, of every accumulator, each in a process of its own; beside it what keeping all features costs.

Time: the Frechet distance of two given covariances of 2,048 features against `scipy.linalg.sqrtm` of their product, in
turn, in one process, on one thread (set OMP_NUM_THREADS=1 for scipy); CPU seconds, a ratio is the median over the
rounds. Once for covariances of full rank, once for those of 1,000 rows. Goal: 6 times faster, full rank.
"""

import argparse
import multiprocessing
import resource
from collections.abc import Callable, Iterator

import scipy.linalg
import torch
from _timing import machine, paired_ratio
from torch import Tensor

from scorekit.evaluation.neighbours import nearest_neighbours
from scorekit.metrics import FeatureStatistics, InceptionScore, KernelInceptionDistance, frechet_distance

FEW, MANY, BATCH, WIDTH = 1_000, 100_000, 500, 64


def stream(count: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(BATCH, WIDTH, generator=generator) for _ in range(count // BATCH))


def statistics(count: int) -> None:
    found = FeatureStatistics(WIDTH)
    for batch in stream(count, 0):
        found.update(batch)


def kernel_distance(count: int) -> None:
    found = KernelInceptionDistance(WIDTH, stream(count, 1))
    for batch in stream(count, 0):
        found.update(batch)


def inception_score(count: int) -> None:
    found = InceptionScore(WIDTH)
    for batch in stream(count, 0):
        found.update(batch)


def neighbours(count: int) -> None:
    images = (batch.reshape(-1, 1, 8, 8) for batch in stream(count, 0))
    nearest_neighbours(torch.randn(32, 1, 8, 8), images)


def kept_features(count: int) -> None:
    torch.cat(list(stream(count, 0))).double()


ACCUMULATORS: dict[str, Callable[[int], None]] = {
    "feature statistics": statistics,
    "kernel inception distance": kernel_distance,
    "inception score": inception_score,
    "nearest neighbours": neighbours,
    "keeping the features": kept_features,
}


def growth(name: str) -> float:
    """MiB that the peak of resident memory grows by between few samples and many, in this process."""
    torch.set_num_threads(1)
    peaks = []
    for count in (FEW, MANY):
        ACCUMULATORS[name](count)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return peaks[1] - peaks[0]


def in_a_process_of_its_own(name: str) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(growth, (name,))


def covariance(rows: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scales = torch.linspace(0.2, 2.0, width, dtype=torch.float64)
    x = torch.randn(rows, width, dtype=torch.float64, generator=generator) * scales
    return x.mean(0), x.T.cov()


def by_root(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    root = torch.as_tensor(scipy.linalg.sqrtm((cov1 @ cov2).numpy())).real
    return ((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * root.trace()).item()


def compare(title: str, rows: int, width: int, rounds: int) -> None:
    moments = (*covariance(rows, width, 0), *covariance(rows, width, 1))
    values = by_root(*moments), frechet_distance(*moments)
    theirs, ours, ratio = paired_ratio(lambda: by_root(*moments), lambda: frechet_distance(*moments), rounds=rounds)
    apart = abs(values[0] - values[1]) / values[1]
    print(f"{title:28} sqrtm {theirs:6.2f} s, ours {ours:6.2f} s, ratio {ratio:5.2f}; the values differ by {apart:.0e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=2048, help="features of the Frechet distance")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    print(f"peak memory, from {FEW:,} to {MANY:,} samples of {WIDTH} features")
    for name in ACCUMULATORS:
        print(f"{name:28} + {in_a_process_of_its_own(name):6.1f} MiB", flush=True)
    print(f"Frechet distance, {arguments.width} features")
    for title, rows in (("full rank", 2 * arguments.width), ("rank 999 (1,000 rows)", 1000)):
        compare(title, rows, arguments.width, arguments.rounds)


if __name__ == "__main__":
    main()
