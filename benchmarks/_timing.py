"""Paired timing: two ways to do one piece of work, in turn, in one process; the figure is the median ratio of the
pairs."""

import os
import platform
import statistics
import time
from collections.abc import Callable

import torch


def machine() -> str:
    """The machine class: what a figure is worth elsewhere."""
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch thread(s), "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def paired_ratio(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    rounds: int = 9,
    clock: Callable[[], float] = time.process_time,
) -> tuple[float, float, float]:
    """Median CPU seconds of `first` and `second`, and the median of first / second, over alternating rounds after a
    warm-up.

    CPU seconds of the process, not wall seconds: on a shared machine the wall clock measures the neighbours.
    """
    first(), second()
    pairs = []
    for number in range(rounds):
        order = (first, second) if number % 2 == 0 else (second, first)
        seconds = {work: _seconds(work, clock) for work in order}
        pairs.append((seconds[first], seconds[second]))
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    return a, b, statistics.median(one / other for one, other in pairs)


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start
