"""Samples against real pictures, to a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from scorekit._kinds import brief
from scorekit.base import NoiseSchedule, Sampler, ScoreModel, TargetFamily
from scorekit.checkpoint.model import Weights
from scorekit.component import suggest
from scorekit.data import Images
from scorekit.data.arrays import as_tensor
from scorekit.evaluation.drawn import Denoising, DrawnSamples
from scorekit.evaluation.extractors import Extracted, Extractor
from scorekit.evaluation.generation import store
from scorekit.evaluation.loss import held_out_loss
from scorekit.evaluation.measures import MEASURES, Given, Measure, Number, Tally
from scorekit.evaluation.origin import open_checkpoint
from scorekit.evaluation.pixels import as_bytes, as_unit
from scorekit.evaluation.reference import Reference, open_reference
from scorekit.evaluation.report import Report, Result
from scorekit.evaluation.rounds import in_order
from scorekit.evaluation.samples import GivenSamples, Provenance, Samples
from scorekit.evaluation.statistics import ReferenceFeatures
from scorekit.evaluation.stored import open_samples
from scorekit.evaluation.stores import Format
from scorekit.runs import sampler_for
from scorekit.samplers import AnnealedMCMC
from scorekit.training.runtime import PlainRuntime, Runtime

AnySamples: TypeAlias = Samples | str | Path | Tensor | np.ndarray
AnyReference: TypeAlias = Reference | str | Path | Images
LOSS = "loss"
METRICS = (*MEASURES, LOSS)


def evaluate(
    samples: AnySamples,
    reference: AnyReference,
    *,
    metrics: Sequence[str | Measure] = ("fid",),
    extractor: Extractor | None = None,
    split: str = "train",
    size: int | None = None,
    cache: str | Path | None = None,
    batch_size: int = 100,
    held_out: AnyReference | None = None,
    noise: NoiseSchedule | None = None,
    runtime: Runtime | None = None,
) -> Report:
    """Judge samples by real pictures.

    Args:
        samples: a folder that `generate` filled or any folder of pictures, an array file, pictures in memory (N, C, H,
            W), or `DrawnSamples`, which are drawn now. They are rounded to 256 levels, wherever they lie.
        reference: real pictures, by name, path or in memory; see `open_reference`.
        metrics: of "fid", "kid", "is", "neighbours", "loss"; or measures with settings of their own.
        extractor: what makes features of pictures; not needed by "neighbours" and "loss".
        split: of the reference.
        size: of its pictures, for CelebA and folders.
        cache: a file with the reference's mean and covariance, written if it is not there.
        batch_size: pictures at once, where `samples` does not say.
        held_out: real pictures for the loss; None for the test split of `reference`.
        noise: the levels of the loss; None for those of the model, or of the sampler.
        runtime: whose processes share the work; the numbers do not depend on how many. None for this process alone.

    Returns:
        The numbers: of each metric one or more, of two sets of samples (`denoise="both"`) those of each.

    Raises:
        ValueError: for an unknown metric, with close matches; if samples and real pictures differ in shape; if the loss
            is asked of samples without a model.
        TypeError: if a metric needs an extractor and there is none.
        StatisticsError: if `cache` holds something else.
    """
    measures = _measures(metrics, extractor)
    given = _opened(samples, batch_size)
    real = open_reference(reference, split, size=size)
    where = PlainRuntime("cpu") if runtime is None else runtime
    report = Report(())
    if measures:
        _require_shape(given, real)
        features = None
        if extractor is not None:
            features = ReferenceFeatures(real, extractor, cache=cache, batch_size=batch_size, runtime=where)
        report = _measured(given, Given(given.num_samples, real, features), measures, extractor, where)
    if LOSS in metrics:
        pictures = open_reference(_held_out(reference, held_out), "test", size=size)
        if not isinstance(given, DrawnSamples) or not isinstance(given.model, ScoreModel):
            raise ValueError("metric 'loss': expected DrawnSamples of a score model: samples alone have no loss")
        report += _loss(given.model, given, pictures, noise, runtime)
    return report


def evaluate_checkpoint(
    checkpoint: str | Path,
    reference: AnyReference,
    *,
    sampler: Sampler | None = None,
    num_samples: int = 50_000,
    seed: int = 0,
    batch_size: int = 100,
    denoise: Denoising = None,
    weights: Weights | None = None,
    step: int | None = None,
    device: torch.device | str = "cpu",
    out: str | Path | None = None,
    format: Format = "png",
    metrics: Sequence[str | Measure] = ("fid",),
    extractor: Extractor | None = None,
    split: str = "train",
    size: int | None = None,
    cache: str | Path | None = None,
    held_out: AnyReference | None = None,
    noise: NoiseSchedule | None = None,
    condition: int | Tensor | Literal["labels"] | None = None,
    runtime: Runtime | None = None,
    progress: bool = False,
) -> Report:
    """Sample a checkpoint and judge the samples.

    Args:
        checkpoint: the folder of a run, its "checkpoint", or one of the `step-N` in it.
        reference, metrics, extractor, split, size, cache, held_out, noise, runtime: see `evaluate`.
        sampler: None for the one of the checkpoint's run.
        num_samples, seed, batch_size, denoise: see `DrawnSamples`.
        weights, step, device: see `scorekit.load`.
        out: a folder to keep the samples in, so that an interrupted call goes on; None keeps none.
        format: how they are kept there; see `generate`.
        condition: what a conditional model is told: a label, or labels (num_samples,) or vectors, or "labels" for those
            of the reference in its order, over and over. Its loss is of the held-out pictures with their own labels.
        progress: show the progress of sampling, where the samples are kept.

    Returns:
        The report.

    Raises:
        ValueError: if no sampler is given and the checkpoint's run names none; for "labels" of pictures without any.
    """
    _measures(metrics, extractor)
    chosen = sampler_for(checkpoint) if sampler is None else sampler
    if chosen is None:
        raise ValueError(f"{checkpoint}: no config.json of a run names its sampler: give one, sampler=...")
    model, origin = open_checkpoint(checkpoint, weights=weights, step=step, device=device)
    family, told = _told(model, condition, reference, split, size, num_samples)
    drawn = DrawnSamples(
        family, chosen, num_samples, seed=seed, batch_size=batch_size, denoise=denoise, origin=origin, condition=told
    )
    judged, report = [metric for metric in metrics if metric != LOSS], Report(())
    if judged:
        kept = drawn if out is None else store(drawn, out, format=format, runtime=runtime, progress=progress)
        report = evaluate(
            kept, reference, metrics=judged, extractor=extractor, split=split, size=size, cache=cache,
            batch_size=batch_size, runtime=runtime,
        )  # fmt: skip
    if LOSS in metrics:
        pictures = open_reference(_held_out(reference, held_out), "test", size=size)
        labels = None if condition is None else "labels"
        report += _loss(model, drawn, pictures, noise, runtime, labels)
    return report


def _told(
    model: ScoreModel,
    condition: int | Tensor | Literal["labels"] | None,
    reference: AnyReference,
    split: str,
    size: int | None,
    num_samples: int,
) -> tuple[TargetFamily, str | None]:
    """The model under its condition, and the condition in words."""
    if condition is None:
        return model, None
    if isinstance(condition, str):
        real = open_reference(reference, split, size=size)
        if condition != "labels" or real.images.labels is None:
            raise ValueError(f"condition = {condition!r} of {real.record}: expected 'labels', and pictures with labels")
        rows = torch.arange(num_samples) % len(real.images.labels)
        return model.given(real.images.labels[rows].to(model.device)), f"the labels of {real.record}"
    if isinstance(condition, int):
        return model.given(torch.tensor(condition, device=model.device)), f"label {condition}"
    return model.given(condition), f"conditions of shape {tuple(condition.shape)}"


def _measures(metrics: Sequence[str | Measure], extractor: Extractor | None) -> list[Measure]:
    if isinstance(metrics, str) or not metrics:
        raise ValueError(f"metrics = {metrics!r}: expected a list of some of {', '.join(METRICS)}")
    for metric in metrics:
        if isinstance(metric, str) and metric not in METRICS:
            raise ValueError(f"unknown metric {metric!r}{suggest(metric, METRICS)}; they are {', '.join(METRICS)}")
    found = [MEASURES[each] if isinstance(each, str) else each for each in metrics if each != LOSS]
    if extractor is None and any(each.needs_extractor for each in found):
        raise TypeError(
            f"metrics = {brief(metrics)}: they go by features: give an extractor, InceptionExtractor(weights), "
            "ClassifierExtractor(folder) or FunctionExtractor(function, name)"
        )
    return found


def _opened(samples: AnySamples, batch_size: int) -> Samples:
    if isinstance(samples, Samples):
        return samples
    if isinstance(samples, str | Path):
        return open_samples(samples, batch_size=batch_size)
    return GivenSamples((as_tensor(samples),), (Provenance("in memory"),), batch_size=batch_size)


def _require_shape(samples: Samples, reference: Reference) -> None:
    if samples.image_shape != reference.image_shape:
        raise ValueError(
            f"samples of shape {samples.image_shape} and real pictures of shape {reference.image_shape} "
            f"({reference.record}): expected one shape"
        )


def _measured(
    samples: Samples, given: Given, measures: list[Measure], extractor: Extractor | None, runtime: Runtime
) -> Report:
    tallies = [[each.start(given) for each in measures] for _ in samples.sets]
    stream = in_order(
        runtime,
        samples.num_chunks,
        lambda number: samples.bounds(number)[1],
        lambda number: _judged(samples.chunk(number), extractor),
    )
    for rows in stream:
        share = len(rows) // len(samples.sets)
        for place, tally in enumerate(tallies):
            _update(tally, rows[place * share : (place + 1) * share])
    return Report(
        tuple(
            _result(number, measure, given, known, extractor)
            for known, row in zip(samples.sets, tallies, strict=True)
            for measure, tally in zip(measures, row, strict=True)
            for number in tally.numbers()
        )
    )


def _judged(sets: tuple[Tensor, ...], extractor: Extractor | None) -> tuple[Tensor, ...]:
    """Pictures, features and logits of each set, as far as there are any, one after the other."""
    found: list[Tensor] = []
    for images in sets:
        rounded = as_unit(as_bytes(images))
        found.append(rounded)
        if extractor is not None:
            found += [each for each in extractor(rounded) if each is not None]
    return tuple(found)


def _update(tallies: list[Tally], rows: tuple[Tensor, ...]) -> None:
    images, *extracted = rows
    for tally in tallies:
        tally.update(images, Extracted(*extracted) if extracted else None)


def _result(number: Number, measure: Measure, given: Given, known: Provenance, extractor: Extractor | None) -> Result:
    by = extractor if measure.needs_extractor else None
    warnings = number.warnings
    if by is not None and not by.published:
        warnings += (
            f"features of {by.name!r}, not of the published network: compare numbers by the same extractor only",
        )
    return Result(
        number.metric,
        number.value,
        number.error,
        number.num_samples,
        given.reference.record if measure.uses_reference else None,
        None if by is None else by.name,
        None if by is None else by.weights_hash,
        known,
        number.settings,
        warnings,
    )


def _held_out(reference: AnyReference, held_out: AnyReference | None) -> AnyReference:
    if held_out is not None:
        return held_out
    if isinstance(reference, str | Path):
        return reference
    raise ValueError("metric 'loss': the reference is in memory: give held-out pictures too, held_out=...")


def _loss(
    model: ScoreModel,
    drawn: DrawnSamples,
    held_out: Reference,
    noise: NoiseSchedule | None,
    runtime: Runtime | None,
    condition: Literal["labels"] | None = None,
) -> Report:
    if noise is None and model.noise_levels is None and isinstance(drawn.sampler, AnnealedMCMC):
        noise = drawn.sampler.noise
    return held_out_loss(
        model, held_out, noise=noise, condition=condition, origin=drawn.origin, batch_size=drawn.batch_size,
        runtime=runtime,
    )  # fmt: skip
