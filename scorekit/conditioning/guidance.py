r"""Guidance by a classifier of noisy data: by Bayes,

    grad log p_sigma(x | label) = grad log p_sigma(x) + grad_x log p(label | x, sigma),

which is exact at every sigma for a classifier of noisy data that is.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TypeAlias, final

import torch
from torch import Tensor, nn

from scorekit._kinds import brief, require_kind
from scorekit.base import Generator, Target, TargetFamily, WrappedFamily, wide
from scorekit.base.families import evaluation_mode, of_each_chain, rows_of
from scorekit.conditioning.targets import add, scaled
from scorekit.energies import value_and_score

Classifier: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@final
class Guided(WrappedFamily):
    """s(x, sigma) + scale grad_x log p(label | x, sigma): samples of one class from a model of all of them.

    With scale = 1 and exact parts it is the class's own density, at every sigma; a larger scale gives samples the more
    typical of the class and less unlike one another. Dhariwal and Nichol, arXiv 2105.05233; Song et al., arXiv
    2011.13456, section 5.

    Args:
        family: the densities p_sigma.
        classifier: a callable or a module (x, sigma (B,)) -> logits (B, K), K classes: torch operations on x, in which
            a row depends on no other. A module is put into evaluation mode while one samples.
        label: the class, one for all chains or (B,) for each its own.
        scale: the power of p(label | x, sigma), any finite number.

    Raises:
        TypeError: if `family` is no family, `classifier` cannot be called, or `label` is no integer.
        ValueError: if a label is negative, or the labels are not () or (B,); if the scale is not finite; when sampling,
            if the classifier gives no logits (B, K), there is no such class, or there is not one label for each chain.
    """

    def __init__(self, family: TargetFamily, classifier: Classifier, label: Tensor | int, scale: float = 1.0):
        require_kind("Guided", TargetFamily, family=family)
        if not callable(classifier):
            raise TypeError(f"Guided(classifier={brief(classifier)}): expected a callable (x, sigma) -> logits (B, K)")
        labels = torch.as_tensor(label)
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise TypeError(f"Guided(label={brief(label)}): expected an integer, or a tensor (B,) of an integer type")
        if labels.ndim > 1 or not (labels >= 0).all():
            raise ValueError(f"Guided(label={brief(label)}): expected a label >= 0, or (B,) of them")
        if not math.isfinite(scale):
            raise ValueError(f"Guided(scale={scale}): expected a finite number")
        self._family, self._classifier, self._label, self._scale = family, classifier, labels.long(), scale

    @property
    def family(self) -> TargetFamily:
        """The densities without the label."""
        return self._family

    @property
    def inference_mode(self) -> bool:
        """False: the classifier is differentiated. (The derivative is had by `torch.func`, whether autograd is on or
        off.)"""
        return False

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The family's target at one level times p(label | x, sigma)^scale."""
        if like is not None:
            of_each_chain("the label", self._label, (), len(like))
        log_prob = partial(self._log_prob, sigma=sigma)
        both = partial(value_and_score, log_prob)
        classified = Target(lambda x: both(x)[1], log_prob, both)
        return add(self._family.at(sigma, like=like, generator=generator), scaled(classified, self._scale))

    def _log_prob(self, x: Tensor, sigma: float) -> Tensor:
        logits = self._classifier(x, x.new_full((len(x),), sigma))
        if logits.ndim != 2 or len(logits) != len(x):
            raise ValueError(
                f"the classifier maps x of shape {tuple(x.shape)} to {tuple(logits.shape)}: expected logits "
                f"({len(x)}, K), a number for each class"
            )
        of_each_chain("the label", self._label, (), len(x))
        if not (self._label < logits.shape[1]).all():
            raise ValueError(f"the label {self._label.max().item()}: the classifier knows {logits.shape[1]} classes")
        chosen = self._label.to(x.device).expand(len(x)).unsqueeze(1)
        return wide(logits).log_softmax(1).gather(1, chosen).squeeze(1)

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> TargetFamily:
        """The family's rows, guided to their labels."""
        kept = self._family.rows(first, count, shape)
        label = rows_of("the label", self._label, (), first, count, shape[0])
        same = kept is self._family and label is self._label
        return self if same else Guided(kept, self._classifier, label, self._scale)

    def evaluating(self) -> AbstractContextManager[None]:
        """The modules of the family, and the classifier if it is one, in evaluation mode."""
        return _evaluating(self._family, self._classifier)

    def __repr__(self) -> str:
        label = self._label.item() if self._label.ndim == 0 else f"{len(self._label)} labels"
        return f"Guided({self._family.title}, {type(self._classifier).__name__}, {label}, scale={self._scale:g})"


@contextmanager
def _evaluating(family: TargetFamily, classifier: Classifier) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(family.evaluating())
        if isinstance(classifier, nn.Module):
            stack.enter_context(evaluation_mode(classifier))
        yield
