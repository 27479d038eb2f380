"""Files of the authors, small."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.interop.authors import KINDS, random, shapes_of, v1_list, v2_list, write

Maker = Callable[[str], Path]


def document_of(kind: str, generator: torch.Generator, *, count: int | None = 6) -> list[object]:
    """A checkpoint of one of the authors' networks, of width 2, in the layout that goes with it, with random weights.

    Args:
        kind: a key of `KINDS`.
        generator: where they come from.
        count: of how many weights Adam's state is there; None for all.
    """
    shapes = shapes_of(kind, 3, 2, 10)
    tensors = random(shapes, generator)
    if not KINDS[kind].sigmas:
        return v1_list(tensors, generator, count)
    return v2_list(tensors, random(shapes, generator), generator, count)


@pytest.fixture
def file_of(tmp_path, generator) -> Maker:
    """Makes the file of a kind."""
    return lambda kind: write(tmp_path / "checkpoint.pth", document_of(kind, generator))
