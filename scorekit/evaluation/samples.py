"""Samples of pictures, in chunks that can be had in any order: wherever they lie or come from.

One object may hold two sets of the same chains, without and with the last denoising step.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Integral
from typing import final

import torch
from torch import Tensor

from scorekit.config import Json
from scorekit.evaluation.origin import Origin
from scorekit.evaluation.pixels import as_unit


@final
@dataclass(frozen=True)
class Provenance:
    """What is known of where a set of samples comes from; None where it is not.

    Args:
        where: a folder, a file, "drawn for this report", ...
        model: the weights.
        sampler: its configuration, as `to_config` gives it.
        seed: of the chains' streams.
        evaluations: of the network, for each sample.
        denoised: whether the chains ended with a move from the last noise level to sigma = 0.
        condition: what a conditional model was told of every sample, in words.
    """

    where: str
    model: Origin | None = None
    sampler: Json = None
    seed: int | None = None
    evaluations: int | None = None
    denoised: bool | None = None
    condition: str | None = None


class Samples(ABC):
    """N pictures in chunks of a fixed size; the last one may be smaller.

    Args:
        num_samples: N.
        batch_size: the size of a chunk.

    Raises:
        ValueError: unless both are integers >= 1.
    """

    def __init__(self, num_samples: int, batch_size: int):
        for name, value in (("num_samples", num_samples), ("batch_size", batch_size)):
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{type(self).__name__}({name}={value!r}): expected an integer >= 1")
        self.num_samples, self.batch_size = num_samples, batch_size

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""

    @property
    @abstractmethod
    def sets(self) -> tuple[Provenance, ...]:
        """Where each set comes from: one, or two, without and with the last denoising step."""

    @abstractmethod
    def chunk(self, number: int) -> tuple[Tensor, ...]:
        """Chunk `number` of each set: (B, C, H, W), floating point in [0, 1], on the CPU. The same at every call."""

    @final
    @property
    def num_chunks(self) -> int:
        """How many there are."""
        return math.ceil(self.num_samples / self.batch_size)

    @final
    def bounds(self, number: int) -> tuple[int, int]:
        """(first, count): which samples chunk `number` holds; a count of 0 beyond the last."""
        first = number * self.batch_size
        return first, max(0, min(self.batch_size, self.num_samples - first))


@final
class GivenSamples(Samples):
    """Pictures that are in memory, or mapped into it.

    Args:
        images: for each set (N, C, H, W), uint8 or floating point in [0, 1].
        sets: where each comes from.
        batch_size: the size of a chunk.

    Raises:
        TypeError: if they are neither uint8 nor floating point.
        ValueError: if there is no set, or their shapes differ or are not (N, C, H, W) with C = 1 or 3; in `chunk`, for
            values outside [0, 1].
    """

    def __init__(self, images: tuple[Tensor, ...], sets: tuple[Provenance, ...], *, batch_size: int = 100):
        if not images or len(images) != len(sets):
            raise ValueError(f"GivenSamples: {len(images)} sets of pictures and {len(sets)} provenances")
        shape = tuple(images[0].shape)
        for each in images:
            _check_given(each, shape)
        super().__init__(shape[0], batch_size)
        self._images, self._sets = images, sets

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self._images[0].shape[1:]
        return channels, height, width

    @property
    def sets(self) -> tuple[Provenance, ...]:
        """As given."""
        return self._sets

    def chunk(self, number: int) -> tuple[Tensor, ...]:
        """Rows of each set."""
        first, count = self.bounds(number)
        return tuple(_unit(each[first : first + count], first) for each in self._images)


def _check_given(images: Tensor, shape: tuple[int, ...]) -> None:
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"samples of type {images.dtype}: expected uint8, or floating point in [0, 1]")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.numel() == 0 or tuple(images.shape) != shape:
        raise ValueError(
            f"samples of shape {tuple(images.shape)}: expected (N, C, H, W) with C = 1 or 3, none of them 0, in every "
            f"set alike ({shape})"
        )


def _unit(images: Tensor, first: int) -> Tensor:
    if images.dtype == torch.uint8:
        return as_unit(images)
    low, high = (value.item() for value in images.aminmax())
    if not (low >= 0 and high <= 1):  # NaN fails it too: aminmax propagates it
        raise ValueError(
            f"samples {first} to {first + len(images) - 1}: values from {low} to {high}; expected pictures in [0, 1]"
        )
    return images.float().cpu()
