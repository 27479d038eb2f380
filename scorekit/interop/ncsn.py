"""Checkpoints of ermongroup/ncsn and ermongroup/ncsnv2, as their authors' code writes and reads them.

A file is a pickled list (`layout.py`), which is read by torch's `weights_only` reader (`archive.py`). It says which
network it is for by the names and shapes of its tensors (`architectures.py`). It does not say

- the size of the images: 28 for one channel; else, for NCSNv2, that of the published ladder with the same number of
  levels (`sampling.py`), or the network's own usual one: 32, 128 (Deeper), 256 (Deepest);
- NCSN's levels: geometric from 1 to .01; the single level of its baseline is .01. NCSNv2's are in the file;
- whether the network maps x to 2 x - 1 first: those that were published all do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from torch import Tensor

from scorekit._kinds import require_kind
from scorekit.base import NoiseSchedule, Sampler, ScoreModel
from scorekit.checkpoint import CheckpointError
from scorekit.checkpoint.model import Weights, fill
from scorekit.interop.architectures import (
    SIGMAS,
    Architecture,
    Measures,
    Setting,
    check_names,
    check_tensors,
    expected,
    measure,
    names_of,
    recognise,
    with_new_weights,
)
from scorekit.interop.archive import Archive, read_archive, write_archive
from scorekit.interop.layout import Parts, parts_of
from scorekit.interop.sampling import LADDERS
from scorekit.noise import Geometric, Levels, SingleLevel

NET = "net."
"""Before the authors' name of a tensor, its name in the model."""

_GRAY_SIZE = 28


@final
@dataclass(frozen=True, eq=False)
class NCSNCheckpoint:
    """One of the authors' checkpoints, checked. `read_ncsn` makes it.

    Args:
        path: the file.
        architecture: which of the authors' networks it is for.
        setting: what the network is made with: image shape, width, levels.
        parts: the model state, the EMA, the optimiser's state, the step, as far as the file has them.
        archive: all that the file holds, as it came.
    """

    path: Path
    architecture: Architecture
    setting: Setting
    parts: Parts = field(repr=False)
    archive: Archive = field(repr=False)

    @property
    def noise(self) -> NoiseSchedule:
        """The levels that the network was trained at."""
        return self.setting.noise

    @property
    def step(self) -> int | None:
        """The training step; None if the file does not say."""
        return self.parts.step

    @property
    def optimizer(self) -> object:
        """The optimiser's state as it came; None if the file has none."""
        return self.parts.optimizer

    def model(self, weights: Weights | None = None) -> ScoreModel:
        """The model, with weights of its own.

        Args:
            weights: "ema" for the moving average, "raw" for the weights as trained, None for the average if the file
                has one.

        Raises:
            CheckpointError: if the file has no moving average and it is asked for.
            ValueError: for any other `weights`.
        """
        state = self._weights(weights)
        model = with_new_weights(self.architecture, self.setting)
        named = {NET + name: tensor for name, tensor in state.items() if name != SIGMAS}
        fill(model, model.state_dict() | named, self.path)
        return model

    def _weights(self, weights: Weights | None) -> Mapping[str, Tensor]:
        match weights:
            case None:
                return self.parts.state if self.parts.ema is None else self.parts.ema
            case "raw":
                return self.parts.state
            case "ema" if self.parts.ema is not None:
                return self.parts.ema
            case "ema":
                raise CheckpointError(f"{self.path}: expected a moving average for weights='ema'; the file has none")
        raise ValueError(f"model(weights={weights!r}): expected 'ema', 'raw' or None")


def read_ncsn(
    path: str | Path,
    *,
    noise: NoiseSchedule | None = None,
    image_size: int | tuple[int, int] | None = None,
    centered: bool = True,
) -> NCSNCheckpoint:
    """One of the authors' checkpoints, once names, shapes, types and values have been checked. No code in it is run.

    Args:
        path: the file, `checkpoint_200000.pth` say; or one with a model state alone.
        noise: NCSN's levels, as many as the network knows; None for those of the paper. NCSNv2's are in the file.
        image_size: of the images, one number or (height, width); None for the usual ones, see the module.
        centered: whether the network maps x to 2 x - 1 first.

    Raises:
        OSError: if there is no such file.
        CheckpointError: if it is damaged, not of this kind, or holds what would have to be run, naming the first
            tensors at fault.
        TypeError: if `noise` is no schedule.
        ValueError: if `noise` is given where the file has levels, or has not as many as the network; if the network
            does not take images of this size.
    """
    path = Path(path)
    archive = read_archive(path)
    parts = parts_of(path, archive.document)
    architecture = recognise(path, parts.state)
    check_names(path, f"the model state of {architecture.name}", parts.state, names_of(architecture))
    measures = measure(path, architecture, parts.state)
    _check(path, architecture, measures, parts)
    shape = (measures.channels, *_image_size(architecture, measures, image_size))
    setting = Setting(shape, measures.width, _levels(path, architecture, parts, measures, noise), centered)
    with_new_weights(architecture, setting._replace(width=2))  # refuses sizes of images that it cannot have
    return NCSNCheckpoint(path, architecture, setting, parts, archive)


def write_ncsn(path: str | Path, checkpoint: NCSNCheckpoint) -> Path:
    """Write a checkpoint as the authors' code reads it: the same tensors under the same names in the same order, bit
    for bit, and everything else that the file held; all on the CPU.

    Args:
        path: a new file.
        checkpoint: what `read_ncsn` read.

    Returns:
        The file.

    Raises:
        FileExistsError: if there is a file of that name.
    """
    require_kind("write_ncsn", NCSNCheckpoint, "read_ncsn(...) makes one", checkpoint=checkpoint)
    write_archive(Path(path), checkpoint.archive)
    return Path(path)


def sampler_of(checkpoint: NCSNCheckpoint) -> Sampler:
    """The sampler with which the authors sampled from such a network, in their own figures (`sampling.py`).

    Raises:
        ValueError: for levels of NCSNv2 whose ratio is not constant, for which its step size is not defined.
    """
    return checkpoint.architecture.sampler(checkpoint.noise)


def _check(path: Path, architecture: Architecture, measures: Measures, parts: Parts) -> None:
    shapes = expected(architecture, measures)
    check_tensors(path, f"the model state of {architecture.name}", parts.state, shapes)
    if parts.ema is not None:
        title = f"the EMA of {architecture.name}"
        weights = {name: shape for name, shape in shapes.items() if name != SIGMAS}
        check_names(path, title, parts.ema, weights)
        check_tensors(path, title, parts.ema, weights)


def _image_size(architecture: Architecture, measures: Measures, given: int | tuple[int, int] | None) -> tuple[int, int]:
    pair = isinstance(given, tuple) and len(given) == 2
    if any(type(size) is not int for size in (given if pair else () if given is None else (given,))):
        raise ValueError(f"read_ncsn(image_size={given!r}): expected one number of pixels, or (height, width)")
    if pair:
        return given
    if given is None and measures.channels == 1:
        given = _GRAY_SIZE
    elif given is None and architecture.keeps_sigmas and measures.num_levels in LADDERS:
        given = LADDERS[measures.num_levels].image_size
    size = architecture.image_size if given is None else given
    return size, size


def _levels(
    path: Path, architecture: Architecture, parts: Parts, measures: Measures, given: NoiseSchedule | None
) -> NoiseSchedule:
    if given is not None:
        require_kind("read_ncsn", NoiseSchedule, "Geometric(1.0, 0.01, 10), say", noise=given)
    if architecture.keeps_sigmas:
        return _kept_levels(path, parts.state[SIGMAS], given)
    if given is None:
        return SingleLevel(0.01) if architecture.levels is None else Geometric(1.0, 0.01, measures.num_levels)
    if len(given.levels()) != measures.num_levels:
        raise ValueError(
            f"read_ncsn(noise={given}): expected as many levels as {path} has, {measures.num_levels}; "
            f"it has {len(given.levels())}"
        )
    return given


def _kept_levels(path: Path, sigmas: Tensor, given: NoiseSchedule | None) -> Levels:
    """The values of the buffer, exactly."""
    if given is not None:
        raise ValueError(f"read_ncsn(noise={given}): expected None, since {path} has its own levels, in {SIGMAS!r}")
    wrong = (sigmas.diff() >= 0).nonzero()
    if sigmas[-1] <= 0 or len(wrong):
        first = int(wrong[0]) if len(wrong) else len(sigmas) - 1
        found = sigmas[first : first + 2].tolist()
        raise CheckpointError(
            f"{path}: expected {SIGMAS}, the levels, to decrease and to be > 0; found {found} from place {first} on"
        )
    return Levels(tuple(sigmas.double().tolist()))
