r"""What parent and worker say to one another: one JSON object a line, over the worker's standard input and output.

    {"do": "versions"}                    -> {"blackjax": "1.7.1", ...}
    {"do": "sample", "line": name}        -> CPU seconds of one block, after a warm-up the first time
    {"do": "loss", "size": d}             -> [CPU seconds of 10 gradients, the 10 losses]
    {"do": "follow", "line": name, "chains": B, "steps": T, "seed": n, "file": path} -> null; writes (T + 1, B, d)

A worker waits on its input while another one works, so that one process at a time is busy. It is timed by the CPU clock
of the whole process, all its threads together, and parent and workers are bound to one core.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from _peers.lines import LINES, Line, loss_batch

BENCHMARKS = Path(__file__).resolve().parent.parent
SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
LOSSES = 10  # gradients in one block


class Side(Protocol):
    """The lines in one library's terms."""

    def versions(self) -> Mapping[str, str]:
        """Name -> version of what takes part."""
        ...

    def sampler(self, line: Line, start: np.ndarray, num_steps: int) -> Callable[[int], None]:
        """A function of a seed that moves the chains (B, d) by so many steps and waits for the result."""
        ...

    def states(self, line: Line, start: np.ndarray, num_steps: int, seed: int) -> np.ndarray:
        """The start and the states after each step: (num_steps + 1, B, d)."""
        ...

    def sliced_loss(self, x: np.ndarray) -> Callable[[], float]:
        """One gradient, for the parameters, of the sliced loss of a perceptron's energy at x (B, d); gives the loss."""
        ...


def serve(make: Callable[[], Side]) -> None:
    """Answer requests until the input ends. Whatever a library prints goes to the standard error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    side = make()
    sampler, loss = cache(lambda name: _sampler(side, name)), cache(lambda size: _loss(side, size))
    for number, text in enumerate(sys.stdin):
        request = json.loads(text)
        match request["do"]:
            case "versions":
                answer: object = dict(side.versions())
            case "sample":
                run = sampler(request["line"])
                answer = _cpu_seconds(lambda run=run, seed=number: run(seed))
            case "follow":
                line = LINES[request["line"]]
                start = line.start(request["chains"], request["seed"])
                np.save(request["file"], side.states(line, start, request["steps"], request["seed"]))
                answer = None
            case "loss":
                gradient = loss(request["size"])
                losses: list[float] = []
                seconds = _cpu_seconds(lambda: losses.extend(gradient() for _ in range(LOSSES)))  # noqa: B023
                answer = [seconds, losses]
            case unknown:
                raise ValueError(f"request {unknown!r}: expected 'versions', 'sample', 'follow' or 'loss'")
        print(json.dumps(answer), file=answers, flush=True)


def _sampler(side: Side, name: str) -> Callable[[int], None]:
    line = LINES[name]
    run = side.sampler(line, line.start(line.num_chains, seed=0), line.num_steps)
    run(0)  # compiles, and touches the memory
    return run


def _loss(side: Side, size: int) -> Callable[[], float]:
    gradient = side.sliced_loss(loss_batch(size, seed=0))
    for _ in range(3):
        gradient()
    return gradient


def _cpu_seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def bind_to_one_core() -> None:
    """Bind this process, and with it those that it starts from now on, where the system can.

    Before a worker imports jax, which counts the cores then: bound after it, its two threads on one core cost blackjax
    twice the CPU time on the smallest lines (405 ns a draw for 210).
    """
    if sys.platform == "linux":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


class Worker:
    """One library in a process of its own.

    Args:
        python: the interpreter of its environment.
        module: the module of `_peers` that serves it.

    Raises:
        RuntimeError: when asked, if the process has ended; its own message is on the standard error.
    """

    def __init__(self, python: Path, module: str):
        self.title = module.removeprefix("with_")
        bind_to_one_core()
        self._process = subprocess.Popen(
            [str(python), "-m", f"_peers.{module}"],
            cwd=BENCHMARKS,
            env={**os.environ, **SINGLE_THREAD},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **details: object) -> object:
        """The answer to one request."""
        try:
            print(json.dumps({"do": do, **details}), file=_open(self._process.stdin), flush=True)
            answer = _open(self._process.stdout).readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the worker of {self.title} ended with code {self._process.wait()} at {do} {details}")
        return json.loads(answer)

    def versions(self) -> dict[str, str]:
        """Name -> version of what takes part."""
        answer = self.ask("versions")
        if not isinstance(answer, dict):
            raise RuntimeError(f"the worker of {self.title} answers {answer!r} for its versions: expected an object")
        return answer

    def seconds(self, line: str) -> float:
        """CPU seconds of one block of a line."""
        return float(str(self.ask("sample", line=line)))

    def losses(self, size: int) -> tuple[float, list[float]]:
        """CPU seconds of 10 gradients, and their losses."""
        answer = self.ask("loss", size=size)
        if not isinstance(answer, list):
            raise RuntimeError(f"the worker of {self.title} answers {answer!r} for a loss: expected [seconds, losses]")
        return answer[0], answer[1]

    def close(self) -> None:
        """End its input, and wait for its end."""
        _open(self._process.stdin).close()
        self._process.wait()
        _open(self._process.stdout).close()


def _open(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("a worker without pipes")
    return stream
