"""Every estimator, with its closed form for an affine score and how its probes are drawn; one problem for all."""

from itertools import product

import torch
from hypothesis import strategies as st
from torch import Tensor

from scorekit import DenoisingScoreMatching, DirectScore
from scorekit.estimators import (
    ExplicitScoreMatching,
    FiniteDifferenceSliced,
    ImplicitScoreMatching,
    SlicedScoreMatching,
)
from scorekit.networks import MLP
from tests.laws import estimates

DSM = DenoisingScoreMatching()
ANTITHETIC = DenoisingScoreMatching("antithetic")
CONTROLLED = DenoisingScoreMatching("control_variate")
LAWS = ("rademacher", "gaussian", "sphere")
FORMS = {
    "denoising": (lambda event: DSM, estimates.denoising, {}),
    "antithetic": (lambda event: ANTITHETIC, estimates.antithetic, {}),
    "control variate": (lambda event: CONTROLLED, estimates.control_variate, {}),
    "implicit": (lambda event: ImplicitScoreMatching(), estimates.implicit, {}),
    "explicit": (lambda event: ExplicitScoreMatching(estimates.known(event)), estimates.explicit, {}),
}
for _law, _count in product(LAWS, (1, 3)):
    for _made, _form in (
        (ImplicitScoreMatching("hutchinson", _law, _count), estimates.sliced),
        (SlicedScoreMatching(True, _law, _count), estimates.sliced),
        (SlicedScoreMatching(False, _law, _count), estimates.plain),
        (FiniteDifferenceSliced(probe=_law, num_probes=_count), estimates.sliced),
    ):
        FORMS[repr(_made)] = (lambda event, made=_made: made, _form, {"law": _law, "probes": _count})
ALL = [make((3,)) for name, (make, _, _) in FORMS.items() if name != "explicit"]  # on events of any shape
DIFFERENTIATING = [
    ImplicitScoreMatching(), ImplicitScoreMatching("hutchinson"), SlicedScoreMatching(), SlicedScoreMatching(False),
]  # fmt: skip
EVENTS = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
SEEDS = st.integers(0, 2**16 - 1)


def problem(seed: int, batch: int, event: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, eps = torch.randn(2, batch, *event, dtype=torch.float64, generator=generator)
    return x, 0.05 + torch.rand(batch, dtype=torch.float64, generator=generator), eps


def score_of(x: Tensor) -> Tensor:
    return x.sin() - x


def coupled(x: Tensor) -> Tensor:
    """A score whose Jacobian is no diagonal, so that a Rademacher probe makes a difference; its curl is not 0."""
    flat = x.flatten(1)
    return (flat.sin() - flat + flat.roll(1, 1) ** 2 / 2).reshape(x.shape)


def network(d: int, seed: int) -> DirectScore:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = DirectScore(MLP((d,), width=64, conditional=False))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0)  # scores of a trained network's size
    return model
