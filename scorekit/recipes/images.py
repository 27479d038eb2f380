"""Recipes on pictures: how they are read, and what of them a recipe goes by."""

from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import final

import torch

from scorekit.data import Compose, DataError, Dequantize, Images, RandomHorizontalFlip, Rescale, Source, as_source
from scorekit.data import open_images as read_images
from scorekit.data import split as set_aside
from scorekit.recipe import Experiment, Recipe


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """A recipe on pictures with values in [0, 1].

    Args:
        training, data, num_samples: see `Recipe`; data as `scorekit.data.open_images` takes it.
        size: height and width, for CelebA and folders of pictures.
        flip: whether colour pictures are mirrored at random. Grey ones never are: a mirrored digit is no digit.
        dequantize: whether grey levels become [0, 1) with uniform noise (NCSN); else they are spread over [0, 1].
    """

    _: KW_ONLY
    size: int | None = None
    flip: bool = True
    dequantize: bool = True

    @property
    def conditional(self) -> bool:
        """Whether the network is told the label of each picture."""
        return False

    @final
    def open(self, spec: str | Path) -> tuple[Source, Source]:
        """The training pictures, and as many held-out ones as a batch.

        Raises:
            DataError: if the data cannot be read.
            ValueError: if training and test pictures differ in shape, or labels are needed and there are none.
        """
        images, held_out = self._read(spec)
        if held_out.pixels.shape[1:] != images.pixels.shape[1:]:
            shapes = tuple(images.pixels.shape[1:]), tuple(held_out.pixels.shape[1:])
            raise ValueError(f"{spec}: training images of shape {shapes[0]}, test images of shape {shapes[1]}")
        first = held_out.select(torch.arange(min(self.training.batch_size, len(held_out))))
        return self._source(images), self._source(first)

    def _read(self, spec: str | Path) -> tuple[Images, Images]:
        images = read_images(spec, size=self.size)
        try:
            return images, read_images(spec, "test", size=self.size)
        except DataError:  # a test split that is damaged, or is missing where it belongs
            raise
        except ValueError:  # a folder of images without a test split
            return set_aside(images, 0.1)

    def _source(self, images: Images) -> Source:
        levels = images.levels or 256
        flips = (RandomHorizontalFlip(),) if self.flip and images.pixels.shape[1] == 3 else ()
        transform = Compose((*flips, Dequantize(levels) if self.dequantize else Rescale(levels)))
        return as_source(images, transform, condition="labels" if self.conditional else None)

    @abstractmethod
    def experiment(self, source: Source) -> Experiment:
        """The run for these pictures."""


def image_shape(source: Source) -> tuple[int, int, int]:
    """(channels, height, width)."""
    channels, height, width = source.take(torch.arange(1)).shape[1:]
    return channels, height, width
