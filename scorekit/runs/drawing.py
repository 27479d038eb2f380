"""Samples of a model, on all processes: pictures, an array, a line of the log for each noise level."""

import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scorekit.base import PerChain, Sampler, ScoreModel
from scorekit.diagnostics import RecordRun
from scorekit.distributed import sample_on_processes
from scorekit.pictures import save_gif, save_grid, save_trajectory
from scorekit.training import Runtime
from scorekit.training.run import LOG

CHUNK = 32
"""Chains at once on one process."""
_FRAMES = 18


def draw(
    model: ScoreModel,
    sampler: Sampler,
    runtime: Runtime,
    out: Path,
    *,
    num_samples: int,
    seed: int,
    reference: Tensor | None = None,
    condition: Tensor | None = None,
) -> dict[str, float | int]:
    """Sample pictures on all processes; the main one writes.

        OUT/samples.png, samples.npy      the samples; above them the reference pictures
        OUT/trajectory.png, samples.gif   eight chains from noise to picture
        OUT/metrics.jsonl                 a line for each level visited

    Args:
        model: a model of pictures, which knows its data's moments.
        sampler: the sampler.
        runtime: whose processes share the work.
        out: the folder.
        num_samples: how many.
        seed: of the chains' streams.
        reference: real pictures (R, C, H, W).
        condition: what the model is told: labels () or (num_samples,), or vectors.

    Returns:
        What a summary says of it: number of samples, seconds, evaluations of the score for each sample.

    Raises:
        ValueError: if the model is not one of pictures.
    """
    if model.moments is None or model.moments[0].ndim != 3:
        raise ValueError("this checkpoint is not one of images: its data's moments are not (channels, height, width)")
    family = model if condition is None else model.given(condition)
    record = RecordRun(family, chains=8, every=max(1, sampler.num_updates() // _FRAMES))
    shape = (num_samples, *model.moments[0].shape)
    start = time.perf_counter()
    streams = PerChain(seed).fork("samples")
    x = sample_on_processes(runtime, sampler, record, shape, generator=streams, batch_size=CHUNK, progress=True)
    seconds = time.perf_counter() - start
    if runtime.rank == 0:
        _write(out, x, torch.cat([record.states, x[None, :8]]), reference)
        with open(out / LOG, "a") as log:
            log.writelines(json.dumps(row._asdict()) + "\n" for row in record.levels(sampler.fixed_step_size))
    return {
        "num_samples": len(x),
        "sampling_seconds": round(seconds, 1),
        "evaluations_per_sample": record.evaluations,
    }


def _write(out: Path, x: Tensor, states: Tensor, reference: Tensor | None) -> None:
    np.save(out / "samples.npy", x.clamp(0, 1).numpy())
    save_grid(out / "samples.png", x, columns=16 if len(x) >= 64 else None, reference=reference)
    save_trajectory(out / "trajectory.png", states[:: max(1, len(states) // (_FRAMES // 2))])
    save_gif(out / "samples.gif", states, columns=4)
