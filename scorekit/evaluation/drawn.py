"""Samples that a sampler draws when they are asked for.

Chain i draws from stream i of `PerChain(seed).fork("samples")`, and a chunk is always computed as one batch of the same
chains: so chunk k is a function of model, sampler, seed and batch size alone, whatever was drawn before it, on however
many processes.
"""

from dataclasses import replace
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from scorekit._kinds import require_kind
from scorekit.base import PerChain, Sampler, TargetFamily
from scorekit.config import Json, to_config
from scorekit.evaluation.counting import evaluations_per_sample
from scorekit.evaluation.origin import Origin, origin_in_memory
from scorekit.evaluation.samples import Provenance, Samples
from scorekit.samplers import AnnealedMCMC, sample
from scorekit.transitions import Denoise, Stay

Denoising: TypeAlias = bool | Literal["both"] | None
"""None: as the sampler ends. False, True: without, with the last move to sigma = 0. "both": two sets, in this order."""


@final
class NonFiniteSamplesError(ValueError):
    """Chains that ran off to infinity or NaN."""


@final
class DrawnSamples(Samples):
    """Samples of a model of pictures.

    Args:
        model: the model, which knows its data's moments and with them the pictures' shape: a score model, or one with
            its condition given, the same for all samples or each its own.
        sampler: the sampler.
        num_samples: how many.
        seed: of the chains' streams.
        batch_size: chains at once. Another size changes samples by rounding.
        denoise: None takes the sampler as it is. True and False take it with and without its last move to sigma = 0,
            which is `Denoise()` where it has none; "both" gives two sets, without and with, from the same chains, for
            one evaluation more.
        origin: where the model comes from; None hashes the weights of a score model.
        condition: what a conditional model is told of the samples, in words ("label 3"): for manifests and reports.

    Raises:
        TypeError: if a part is of another kind; without an origin, for a model whose weights cannot be hashed; with
            `denoise`, for a sampler that is no `AnnealedMCMC`.
        ValueError: for a number out of range; if the model is not one of pictures.
        NonFiniteSamplesError: in `chunk`, for chains that are not finite.
    """

    def __init__(
        self,
        model: TargetFamily,
        sampler: Sampler,
        num_samples: int,
        *,
        seed: int = 0,
        batch_size: int = 100,
        denoise: Denoising = None,
        origin: Origin | None = None,
        condition: str | None = None,
    ):
        super().__init__(num_samples, batch_size)
        require_kind("DrawnSamples", TargetFamily, "a ScoreModel of pictures", model=model)
        require_kind("DrawnSamples", Sampler, "annealed_langevin(...), say", sampler=sampler)
        if denoise not in (None, True, False, "both"):
            raise ValueError(f"DrawnSamples(denoise={denoise!r}): expected True, False, 'both', or None")
        self.model, self.sampler, self._shape = model, sampler, _image_shape(model)
        self.origin = origin_in_memory(model) if origin is None else origin
        self._condition = condition
        self._first, self._last = _endings(sampler, denoise)
        self.seed, self._streams = seed, PerChain(seed).fork("samples")
        self._sets = tuple(self._provenance(each) for each in (self._first, self._last) if each is not None)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """That of the data's moments."""
        return self._shape

    @property
    def sets(self) -> tuple[Provenance, ...]:
        """One for each ending."""
        return self._sets

    def chunk(self, number: int) -> tuple[Tensor, ...]:
        """Draw it; clipped to [0, 1]."""
        first, count = self.bounds(number)
        streams = self._streams.shift(first)
        family = self.model.rows(first, count, (self.num_samples, *self._shape))
        x = sample(self._first, family, (count, *self._shape), generator=streams)
        drawn = (x,) if self._last is None else (x, denoised(self._last, family, x, streams))
        for each in drawn:
            require_finite(each, first)
        return tuple(each.float().clamp(0, 1).cpu() for each in drawn)

    def _provenance(self, sampler: Sampler) -> Provenance:
        one = self.model.rows(0, 1, (self.num_samples, *self._shape))
        evaluations = evaluations_per_sample(sampler, one, self._shape)
        return Provenance(
            "drawn",
            self.origin,
            sampler_config(sampler),
            self.seed,
            evaluations,
            ends_at_zero(sampler),
            self._condition,
        )


def require_finite(x: Tensor, first: int = 0) -> None:
    """Refuse chains (B, *E) that ran off; the first of them is sample number `first`.

    Raises:
        NonFiniteSamplesError: with how many there are.
    """
    if not x.isfinite().all():
        lost, count = int((~x.isfinite()).flatten(1).any(1).sum()), len(x)
        raise NonFiniteSamplesError(
            f"samples {first} to {first + count - 1}: {lost} of {count} chains are not finite: the step size is too "
            "large for this model, or it was trained too little"
        )


def denoised(sampler: AnnealedMCMC, family: TargetFamily, x: Tensor, streams: PerChain) -> Tensor:
    """The sampler's last move alone, on chains x (B, *E) that stand at its last noise level.

    It is what the sampler would have returned had it not stopped before that move: bit for bit with an unadjusted
    kernel, else to rounding, since an adjusted one has the score of its rows from other batches.
    """
    sigma = sampler.noise.levels()[-1].item()
    number = len(sampler.noise.levels())
    draws = streams.fork("family")
    with family.evaluating(), torch.inference_mode() if family.inference_mode else torch.no_grad():
        point = family.at(sigma, like=x, generator=draws.fork(number - 1)).point(x)
        clean = family.at(0.0, like=x, generator=draws.fork(number))
        moved, _ = sampler.final.move(family, point, clean, sigma, 0.0, generator=streams.fork("final"))
        projected = clean.project(moved)
    return projected.clone()  # outside inference mode: an ordinary tensor


def ends_at_zero(sampler: Sampler) -> bool | None:
    """Whether the chains end with a move to sigma = 0; None if that cannot be told."""
    return sampler.final != Stay() if isinstance(sampler, AnnealedMCMC) else None


def sampler_config(sampler: Sampler) -> Json:
    """Its configuration; where it has none (a plugin that is not registered), its repr."""
    try:
        return to_config(sampler)
    except TypeError:
        return {"repr": repr(sampler)}


def _endings(sampler: Sampler, denoise: Denoising) -> tuple[Sampler, AnnealedMCMC | None]:
    """The sampler of the first set, and that of the second one, if there is one."""
    if denoise is None:
        return sampler, None
    if not isinstance(sampler, AnnealedMCMC):
        raise TypeError(
            f"denoise={denoise!r}: {type(sampler).__name__} has no last move to sigma = 0 to leave or to add"
        )
    without = replace(sampler, final=Stay())
    ending = replace(sampler, final=Denoise()) if sampler.final == Stay() else sampler
    if denoise == "both":
        return without, ending
    return (ending if denoise else without), None


def _image_shape(model: TargetFamily) -> tuple[int, int, int]:
    moments = model.moments
    if moments is None or moments[0].ndim != 3 or moments[0].shape[0] not in (1, 3):
        found = "none" if moments is None else f"of shape {tuple(moments[0].shape)}"
        raise ValueError(
            f"{model.title} is not a model of pictures: expected moments of its data (C, H, W) with C = 1 or 3; it has "
            f"{found}"
        )
    channels, height, width = moments[0].shape
    return channels, height, width
