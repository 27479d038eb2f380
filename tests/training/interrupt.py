"""Interrupts training runs, lets them resume, and compares them with one that was left alone: `interrupt.py OUT KILLS`.

A process of its own, because it forks before any backward pass: autograd's threads do not survive a fork.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

import torch

from scorekit.checkpoint import CheckpointStore
from scorekit.training import train
from tests.training.runs import Net, config, digest_of, examples, objective

SETTINGS = config(num_steps=20 * int(sys.argv[2]), checkpoint_every=2, log_every=1)
SLEEP = 0.01  # after each step, so that signals hit different ones


def start(out: Path, tell: int | None = None) -> int:
    """A child that trains; it writes its steps to the descriptor `tell`."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:

        def slowly(step):
            if tell is not None:
                os.write(tell, f"{step.step}\n".encode())
            time.sleep(SLEEP)

        outcome = train(
            objective(width=64), examples(), SETTINGS, out=out, resume=True, progress=False, callbacks=[slowly]
        )
        (out / "outcome").write_text(f"{outcome.step} {digest_of(outcome.model.state_dict().values())}")
        code = 0
    finally:
        os._exit(code)


def finish(out: Path) -> str:
    if os.waitpid(start(out), 0)[1]:
        sys.exit(f"a run in {out} failed")
    return (out / "outcome").read_text().split()[1]


def kill_at_random(out: Path, kills: int) -> list[int]:
    """Kill the run at random instants of random steps; the checkpoints that it then stands at."""
    rng, stands = random.Random(kills), set()
    for _ in range(kills):
        child, steps = start_told(out)
        for _ in range(rng.randint(1, 15)):
            next(steps)
        time.sleep(4 * SLEEP * rng.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        steps.close()
        stands.update(entry.step for entry in CheckpointStore(out / "checkpoint").entries()[:1])
    return sorted(stands)


def start_told(out: Path) -> tuple[int, TextIO]:
    """A child that trains, and the lines that it writes, one for each step."""
    ours, theirs = os.pipe()
    child = start(out, tell=theirs)
    os.close(theirs)
    return child, os.fdopen(ours)


def terminate(out: Path) -> tuple[int, int]:
    """SIGTERM during step 7 or soon after: the exit status, and the step that the run stopped at."""
    child, steps = start_told(out)
    with steps:
        while next(steps) != "6\n":
            pass
        os.kill(child, signal.SIGTERM)
        status = os.waitpid(child, 0)[1]
    return status, int((out / "outcome").read_text().split()[0])


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    torch.optim.Adam(Net().parameters())  # imports 800 modules: once here and not in every child
    whole = finish(folder / "whole")
    stands = kill_at_random(folder / "killed", kills)
    status, stopped_at = terminate(folder / "terminated")
    report = {
        "whole": whole,
        "killed": finish(folder / "killed"),
        "resumed_at": stands,
        "exit_on_sigterm": status,
        "stopped_at": stopped_at,
        "terminated": finish(folder / "terminated"),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
