"""A training script for two processes: `torchrun --nproc-per-node 2 -m tests.training.worker OUT`.

It reports the gradient of the first batch, without labels and with, and trains 6 steps with labels. It then sets out to
train 14 steps without, and is stopped: rank 1 sends itself SIGTERM in step 9. With `late` as a second argument, the
threads that exchange tensors run only when nothing else does.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from scorekit.checkpoint import CheckpointStore
from scorekit.training import Outcome, Training, TrainingConfig, choose_runtime, train
from tests.training import conditional
from tests.training.runs import config, digest_of, examples, objective

DOUBLE = torch.float64


def settings(num_steps: int, accumulate: int = 1) -> TrainingConfig:
    return config(
        num_steps=num_steps, accumulate=accumulate, decay="constant", validate_every=4, log_every=1, checkpoint_every=5
    )


def first_gradient(accumulate: int = 1, *, labels: bool = False) -> torch.Tensor:
    run = conditional.objective("labels", DOUBLE) if labels else objective(dtype=DOUBLE)
    data = conditional.source("labels", dtype=DOUBLE) if labels else examples(dtype=DOUBLE)
    numbers = settings(14, accumulate)
    training = Training(run, data, numbers, runtime=choose_runtime(numbers, run))
    training._gradient(1)
    return torch.cat([weight.grad.flatten() for weight in run.model.parameters()])


def trained_with_labels(out: Path, accumulate: int = 1) -> Outcome:
    run, data = conditional.objective("labels", DOUBLE), conditional.source("labels", dtype=DOUBLE)
    return train(run, data, settings(6, accumulate), out=out, held_out=conditional.source("labels", 7))


def main(out: Path) -> None:
    rank, writes = int(os.environ["RANK"]), []
    gradient, with_labels = first_gradient(accumulate=2), first_gradient(accumulate=2, labels=True)
    trained_with_labels(out / "labels", accumulate=2)
    write, gradient_of = CheckpointStore.write, Training._gradient

    def counted(self, *args, **kwargs):
        writes.append(args[0])
        return write(self, *args, **kwargs)

    def interrupted(self, step):
        if step == 9 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return gradient_of(self, step)

    CheckpointStore.write, Training._gradient = counted, interrupted
    outcome = train(objective(dtype=DOUBLE), examples(dtype=DOUBLE), settings(14, 2), out=out, held_out=examples(7))
    report = {
        "gradient": gradient.tolist(),
        "gradient with labels": with_labels.tolist(),
        "writes": writes,
        "step": outcome.step,
        "main": outcome.is_main,
        "weights": digest_of(outcome.model.state_dict().values()),
    }
    (out / f"rank-{rank}.json").write_text(json.dumps(report))


def make_threads_late() -> None:
    """Put them into Linux's idle class, with something to do."""
    for thread in Path("/proc/self/task").iterdir():
        if (thread / "comm").read_text().strip() == "pt_gloo_runloop":
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
    for _ in range(20):
        torch.distributed.all_reduce(torch.ones(200))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
    if "late" in sys.argv:
        make_threads_late()
