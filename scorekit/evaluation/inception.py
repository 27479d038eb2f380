"""Inception-v3 as published FIDs use it: the TensorFlow network of 2015-12-05, ported by torch-fidelity.

The network class is torch-fidelity's and nothing else of it is used; the weights are a local file, never fetched. Its
input is uint8 RGB, resized inside by TensorFlow 1's bilinear rule to 299 x 299: pictures in [0, 1] are rounded to the
nearest of 256 levels (`round(255 x)`, halves to even), and a grey picture is repeated over three channels. Features are
the 2048 of the last pool; the logits are those without the last bias, 1008 classes, as the published score has them.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from scorekit._kinds import brief
from scorekit.evaluation.extractors import Extracted, Extractor
from scorekit.evaluation.pixels import as_bytes

PUBLISHED = "6726825d"
"""How the SHA-256 of `weights-inception-2015-12-05-6726825d.pth` begins."""

_SAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@final
class InceptionExtractor(Extractor):
    """Inception-v3 with the published weights.

    Args:
        weights: the file `weights-inception-2015-12-05-6726825d.pth` (the releases of torch-fidelity and pytorch-fid
            have it).
        sha256: the hash, or how it begins, of other weights in the same format: yours, which no published number used.
        device: where it runs.

    Raises:
        ImportError: without torch-fidelity, or where it cannot be imported since torchvision does not match torch, with
            the line that installs it.
        ValueError: if the file is not there, its hash is another one, or it holds no such weights.
    """

    def __init__(self, weights: str | Path, *, sha256: str | None = None, device: torch.device | str = "cpu"):
        path = Path(weights)
        self._hash = _checked_hash(path, PUBLISHED if sha256 is None else sha256)
        network = _network_class()
        try:
            with _without_pickle():
                self._net = network("inception-v3-compat", ["2048", "logits_unbiased"], str(path)).to(device)
        except Exception as error:  # what a foreign file makes torch's loader and load_state_dict raise: many kinds
            raise ValueError(
                f"{path}: expected Inception-v3's weights as torch-fidelity has them; {brief(str(error))}"
            ) from error
        self._device = torch.device(device)
        self._published = self._hash.startswith(PUBLISHED)

    @property
    def name(self) -> str:
        """That of the published network only with the published weights."""
        return "inception-v3 2015-12-05" if self._published else "inception-v3, other weights"

    @property
    def weights_hash(self) -> str | None:
        """The SHA-256 of the file."""
        return self._hash

    @property
    def published(self) -> bool:
        """Whether its weights are the published ones."""
        return self._published

    def extract(self, images: Tensor) -> Extracted:
        """2048 features and 1008 logits."""
        rgb = as_bytes(images).expand(-1, 3, -1, -1).to(self._device)
        features, logits = self._net(rgb)
        return Extracted(features, logits)


def _checked_hash(path: Path, expected: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{8,64}", expected):
        raise ValueError(f"InceptionExtractor(sha256={expected!r}): expected 8 to 64 hexadecimal digits, small letters")
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(
            f"{path}: expected the file weights-inception-2015-12-05-{PUBLISHED}.pth; it cannot be read "
            f"({error.strerror})"
        ) from error
    if not found.startswith(expected):
        raise ValueError(f"{path}: expected a SHA-256 that begins with {expected}; found {found}")
    return found


def _network_class() -> type:
    try:
        module = import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("torch_fidelity", "torchvision"):
            raise
        raise ImportError(
            "InceptionExtractor needs torch-fidelity and a torchvision that matches torch: "
            f"pip install 'scorekit[eval]' torch=={torch.__version__.split('+')[0]} (torch stays as it is); {error}"
        ) from error
    except (ImportError, RuntimeError) as error:  # "operator torchvision::nms does not exist" is a RuntimeError
        raise ImportError(
            f"torch-fidelity cannot be imported: {error}. Its torchvision must be the build that belongs to torch "
            f"{torch.__version__}: install both from one index in an environment of their own, for instance "
            "pip install torch==2.14.1 torchvision==0.29.1 'scorekit[eval]'"
        ) from error
    return module.FeatureExtractorInceptionV3


@contextmanager
def _without_pickle() -> Iterator[None]:
    """torch-fidelity loads a local file by running pickle; torch's own switch makes it read tensors only.

    A file's hash is checked before, but eight digits of it can be forged.
    """
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE]
        else:
            os.environ[_SAFE] = before
