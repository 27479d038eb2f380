"""The paper's protocol: of all stored checkpoints the one with the least Frechet distance of 1,000 samples, then that
one with 50,000.

    OUT/selection.jsonl     a line for each step that was judged: its result, and all that decided it
    OUT/step-5000/...       the samples of the best one, resumable
    OUT/final.json          its report

Song and Ermon (arXiv 1907.05600, appendix B.2) chose so for CIFAR-10 and CelebA, every 5,000 steps; numbers of 1,000
samples are biased upward by much the same at every step, and only their order is used. The final samples come from
other streams than those of the selection: else the best would be judged, in part, by the samples it was chosen for.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from scorekit.base import NoiseSchedule, Sampler
from scorekit.checkpoint import CheckpointStore
from scorekit.checkpoint.manifest import Entry
from scorekit.checkpoint.model import EMA, Weights
from scorekit.config import Json
from scorekit.evaluation.drawn import Denoising, DrawnSamples, NonFiniteSamplesError, sampler_config
from scorekit.evaluation.evaluating import AnyReference, evaluate, evaluate_checkpoint
from scorekit.evaluation.extractors import Extractor
from scorekit.evaluation.measures import Measure
from scorekit.evaluation.origin import Origin, checkpoint_home, open_checkpoint, origin_of
from scorekit.evaluation.reference import Reference, open_reference
from scorekit.evaluation.report import Report
from scorekit.evaluation.selection import Judged, SelectionLog, encode
from scorekit.evaluation.statistics import labels_of
from scorekit.runs import sampler_for
from scorekit.training.runtime import PlainRuntime, Runtime

SELECTION, FINAL = "selection.jsonl", "final.json"


@final
@dataclass(frozen=True, repr=False)
class Selection:
    """What the protocol found.

    Args:
        judged: every checkpoint that exists, in the order of its steps.
        best: the one with the least distance; the earliest of equal ones.
        report: of its final samples; None if there are to be none.
    """

    judged: tuple[Judged, ...]
    best: Judged
    report: Report | None

    def to_json(self) -> dict[str, Json]:
        """All of it, as JSON values."""
        return {
            "format": "scorekit-selection",
            "version": 1,
            "judged": [encode(each) for each in self.judged],
            "best_step": self.best.step,
            "report": None if self.report is None else self.report.to_json(),
        }

    def __repr__(self) -> str:
        results = tuple(each.result for each in self.judged if each.result is not None)
        faults = [f"step {each.step}: {each.fault}" for each in self.judged if each.fault is not None]
        chosen = f"Chosen: step {self.best.step}, the least Frechet distance of {len(self.judged)} checkpoints."
        parts = [repr(Report(results)), *faults, chosen]
        return "\n\n".join(parts if self.report is None else [*parts, repr(self.report)])


def evaluate_checkpoints(
    folder: str | Path,
    reference: AnyReference,
    *,
    out: str | Path,
    extractor: Extractor,
    sampler: Sampler | None = None,
    num_samples: int = 1000,
    final_samples: int | None = 50_000,
    metrics: Sequence[str | Measure] = ("fid",),
    seed: int = 0,
    final_seed: int | None = None,
    batch_size: int = 100,
    denoise: bool | None = None,
    final_denoise: Denoising = None,
    weights: Weights | None = None,
    device: torch.device | str = "cpu",
    split: str = "train",
    size: int | None = None,
    cache: str | Path | None = None,
    held_out: AnyReference | None = None,
    noise: NoiseSchedule | None = None,
    runtime: Runtime | None = None,
    progress: bool = False,
) -> Selection:
    """Judge every checkpoint of a run that exists, choose the best, and judge that one by many samples.

    It goes on where an earlier call was interrupted: steps that `out` has already, by the same weights and settings,
    are not judged again.

    Args:
        folder: the folder of a run, or its "checkpoint". Keep more than the last two by
            `TrainingConfig(keep_every=...)`.
        reference, extractor, split, size, cache, held_out, noise, runtime: see `evaluate`. The cache is
            `out`/reference.safetensors if None.
        out: the folder to write.
        sampler: None for the run's own.
        num_samples: for each checkpoint.
        final_samples: for the best one; None for no final report.
        metrics: of the final report. The selection goes by the Frechet distance.
        seed: of the selection's chains, the same for every step.
        final_seed: of the final ones; None for seed + 1.
        batch_size: chains, or pictures, at once.
        denoise: whether the chains of the selection end with a move to sigma = 0; None as the sampler does.
        final_denoise: the same of the final samples, "both" for two sets; None as the selection.
        weights: "ema" or "raw"; None for the moving average where there is one.
        device: where the models run.
        progress: show the progress of the final samples.

    Returns:
        Every step's number, the best step, and the final report.

    Raises:
        CheckpointError: if there is no checkpoint.
        NonFiniteSamplesError: if the chains of every checkpoint ran off.
        ValueError: if the final seed is the selection's, or no sampler is known.
    """
    final_seed = seed + 1 if final_seed is None else final_seed
    if final_seed == seed:
        raise ValueError(f"final_seed = {seed}: expected other chains than those of the selection, of seed {seed}")
    if denoise not in (None, True, False):
        raise ValueError(f"denoise = {denoise!r}: expected True, False or None; 'both' is for final_denoise")
    chosen = sampler_for(folder) if sampler is None else sampler
    if chosen is None:
        raise ValueError(f"{folder}: no config.json of a run names its sampler: give one, sampler=...")
    place = Path(out)
    place.mkdir(parents=True, exist_ok=True)
    real = open_reference(reference, split, size=size)
    where = PlainRuntime("cpu") if runtime is None else runtime
    kept = place / "reference.safetensors" if cache is None else cache
    trial = _Trial(
        checkpoint_home(folder), chosen, real, extractor, num_samples, seed, batch_size, denoise, weights, device, kept,
        where,
    )  # fmt: skip
    judged = trial.judge_all(SelectionLog(place / SELECTION, trial.settings(), where))
    best = min(judged, key=lambda each: (each.value, each.step))
    if best.result is None:
        raise NonFiniteSamplesError(f"{folder}: the chains of all {len(judged)} checkpoints ran off; {best.fault}")
    report = None
    if final_samples is not None:
        report = evaluate_checkpoint(
            trial.home, real, sampler=chosen, num_samples=final_samples, seed=final_seed, batch_size=batch_size,
            denoise=denoise if final_denoise is None else final_denoise, weights=best.origin.weights, step=best.step,
            device=device, out=place / f"step-{best.step}", metrics=metrics, extractor=extractor, cache=kept, size=size,
            held_out=reference if held_out is None and isinstance(reference, str | Path) else held_out, noise=noise,
            runtime=where, progress=progress,
        )  # fmt: skip
    found = Selection(judged, best, report)
    if where.rank == 0:
        (place / FINAL).write_text(json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
    return found


@final
@dataclass(frozen=True)
class _Trial:
    """How each checkpoint is judged."""

    home: Path
    sampler: Sampler
    reference: Reference
    extractor: Extractor
    num_samples: int
    seed: int
    batch_size: int
    denoise: bool | None
    weights: Weights | None
    device: torch.device | str
    cache: str | Path
    runtime: Runtime

    def settings(self) -> dict[str, Json]:
        """All that decides a step's number besides its weights."""
        settings = {
            "sampler": sampler_config(self.sampler),
            "num_samples": self.num_samples,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "denoise": self.denoise,
            "reference": labels_of(self.reference, self.extractor),
        }
        return json.loads(json.dumps(settings))

    def judge_all(self, log: SelectionLog) -> tuple[Judged, ...]:
        """Every checkpoint that exists, in the order of its steps; those in the log are not judged again."""
        found = []
        for entry in sorted(_entries(self.home), key=lambda entry: entry.step):
            origin = origin_of(self.home, entry, self.weights or ("ema" if EMA in entry.files else "raw"))
            judged = log.find(origin)
            if judged is None:
                judged = self._judge(origin, entry.step)
                log.add(judged)
            found.append(judged)
        return tuple(found)

    def _judge(self, origin: Origin, step: int) -> Judged:
        model = open_checkpoint(self.home, weights=origin.weights, step=step, device=self.device).model
        samples = DrawnSamples(
            model, self.sampler, self.num_samples, seed=self.seed, batch_size=self.batch_size, denoise=self.denoise,
            origin=origin,
        )  # fmt: skip
        try:
            report = evaluate(
                samples, self.reference, extractor=self.extractor, cache=self.cache, batch_size=self.batch_size,
                runtime=self.runtime,
            )  # fmt: skip
        except NonFiniteSamplesError as error:  # a checkpoint that diverges is no reason to lose the others
            return Judged(step, origin, None, str(error))
        return Judged(step, origin, report.results[0])


def _entries(home: Path) -> tuple[Entry, ...]:
    entries = CheckpointStore(home).entries()
    if not entries:
        CheckpointStore(home).read()  # says what was expected and what is there
    return entries
