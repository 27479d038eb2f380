"""The check of a metric of two samples."""

import math

import torch
from torch import Tensor

from scorekit.base import Generator, Metric
from scorekit.densities import Density, GaussianMixture
from scorekit.testing.trial import Rows, Trial, configuration, reproducible

TWO_MODES = GaussianMixture(((-2.0, 0.0), (2.0, 0.0)))


def check_metric(metric: Metric, *, density: Density = TWO_MODES, num_samples: int = 300) -> None:
    """The laws of a metric: a float that is near its smallest for equal laws and larger for laws further apart,
    whatever the order of the rows.

    "Larger" is by the spread of five repetitions: each one of a shifted sample exceeds each one of equal laws.

    Args:
        metric: the metric.
        density: the law of the reference; samples are its draws, shifted along the first coordinate by one and by three
            of its standard deviations.
        num_samples: in each sample; so few that the metric uses all of them, wherever they stand.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_metric", metric)
    draws = trial.generator("samples")
    samples = [density.sample(num_samples, generator=draws, dtype=torch.float64) for _ in range(10)]
    first = torch.zeros(density.event_shape, dtype=torch.float64).flatten()
    first[0] = torch.cat(samples).flatten(1)[:, 0].std()
    shift = first.reshape(density.event_shape)

    def value(x: Tensor, reference: Tensor) -> float:
        return metric(x, reference, generator=torch.Generator().manual_seed(1))

    def call(rows: Rows, generator: Generator) -> Rows:
        return (torch.tensor([metric(*rows, generator=generator)], dtype=torch.float64),)

    reproducible(trial, call, (samples[0], samples[1]), draws=False)
    made = value(samples[0], samples[1])
    trial.require(
        isinstance(made, float) and math.isfinite(made),
        "the value is a float",
        f"{made!r}",
        "a finite float",
        "a tensor (end with .item()), or a logarithm or a ratio of 0",
    )
    trial.error(
        abs(value(samples[0].float(), samples[1].float()) - made) / (1 + abs(made)),
        "samples in float32 have the value of those in float64",
        "squares that are subtracted from one another in the samples' own type",
        bound=1e-3,
    )
    apart = [[value(x + far * shift, y) for x, y in zip(samples[:5], samples[5:], strict=True)] for far in (0, 1, 3)]
    for nearer, further, name in zip(apart, apart[1:], ("one std", "three stds"), strict=False):
        trial.require(
            max(nearer) < min(further),
            f"a shift by {name} is further away",
            f"values from {min(further):.4g} for it, up to {max(nearer):.4g} for the smaller shift",
            "a gap between the two",
            "a similarity for a distance, or a statistic that does not see the shift",
        )
    same = value(samples[0], samples[0].clone())
    trial.require(
        same <= max(apart[0]),
        "a sample is nearest to itself",
        f"{same:.4g} for one sample against itself, {max(apart[0]):.4g} for two",
        "no more",
        "a term that counts an example against its own copy, or punishes copies",
    )
    again = value(samples[0].flip(0), samples[5].roll(7, 0))
    trial.error(
        abs(again - apart[0][0]) / max(1e-6, abs(max(apart[1]))),
        "the order of the rows is nothing to it",
        "rows of the two samples that are paired by their place",
        bound=1e-6,
    )
    configuration(trial)
