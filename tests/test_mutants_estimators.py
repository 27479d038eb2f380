"""Implicit, sliced and denoising score matching next to broken twins, and the checks that must reject each.

`fixpoint`, `affine_w` and `singletons` know only what a score is; `closed_form`, `closed_gradient` and
`probe_variance` know the formula (`laws/estimates.py`). The tables say which sees which fault; two at least do, but for
faults that leave the values alone.
"""

from collections.abc import Callable
from typing import Any, ClassVar, final

import pytest
import torch
from torch import Tensor

from scorekit import Objective
from scorekit.base import Estimator, Generator, TensorFunction, expand, normal, rademacher, sum_event, uniform
from scorekit.estimators.jacobian import linearise
from tests.estimators.cases import coupled, problem
from tests.laws import estimates, losses
from tests.laws.statistics import ALPHA, BOUND
from tests.laws.targets import gauss3

FIX, AFF, FORM, GRAD = "fixpoint", "affine_w", "closed_form", "closed_gradient"
VAR, ALONE = "probe_variance", "singletons"


@final
class Twin(Estimator):
    """Score matching written out in steps, of which a mutant breaks one.

    Args:
        kind: "implicit" (the exact trace), "sliced", or "plain", whose second term is 1/2 (v . s)^2.
        broken: the steps to replace: draw, trace, norm, reduce, combine.
    """

    needs_noise: ClassVar[bool] = False

    def __init__(self, kind: str, **broken: Callable[..., Any]):
        self.kind, self.broken = kind, broken

    def __call__(
        self, score: TensorFunction, x: Tensor, sigma: Tensor, eps: Tensor, *, generator: Generator = None
    ) -> Tensor:
        value, pull = linearise(score, x)
        reduce = self.broken.get("reduce", sum_event)
        if self.kind == "implicit":
            basis = torch.eye(x[0].numel(), dtype=x.dtype).reshape(-1, *x.shape[1:])
            rows = sum(pull(e.expand_as(x)) * e for e in basis)
        else:
            v = self._do("draw", rademacher, x, generator=generator)
            rows = pull(v) * v
        trace = self._do("trace", lambda t: t, reduce(rows))
        square = sum_event(value * v).square() if self.kind == "plain" else reduce(value.square())
        return self._do("combine", lambda trace, half: trace + half, trace, self._do("norm", lambda s: s / 2, square))

    def _do(self, step: str, right: Callable[..., Any], *args: Tensor, **kwargs: Generator) -> Any:
        return self.broken.get(step, right)(*args, **kwargs)


def _unit(x: Tensor, *, generator: Generator) -> Tensor:
    z = normal(x, generator=generator)
    return z / expand(sum_event(z.square()).sqrt(), z)


STEPS: dict[str, tuple[dict[str, Callable[..., Any]], tuple[str, ...]]] = {
    "trace sign": ({"trace": torch.neg}, (FIX, AFF, FORM, GRAD)),
    "abs(trace)": ({"trace": torch.abs}, (FIX, AFF, FORM, GRAD)),
    "mean for sum in the trace": ({"trace": lambda t: t / 3}, (FIX, AFF, FORM, GRAD)),
    "1/2 missing": ({"norm": lambda s: s}, (FIX, AFF, FORM, GRAD)),
    "trace detached": ({"trace": torch.detach}, (FIX, GRAD)),
    "norm detached": ({"norm": lambda s: s.detach() / 2}, (GRAD,)),
    "norm negative": ({"norm": lambda s: -s / 2}, (FIX, AFF, FORM, GRAD)),
}
PROBES: dict[str, tuple[dict[str, Callable[..., Any]], tuple[str, ...]]] = {
    "one probe for the batch": (
        {"draw": lambda x, generator: rademacher(x[:1], generator=generator).expand_as(x)},
        (AFF, FORM, GRAD, VAR, ALONE),
    ),
    "unit-sphere probe": ({"draw": _unit}, (FIX, AFF, FORM, GRAD, VAR)),
    "uniform probe": (
        {"draw": lambda x, generator: 2 * uniform(x, generator=generator) - 1},
        (FIX, AFF, FORM, GRAD, VAR),
    ),
    "positive probe": (
        {"draw": lambda x, generator: normal(x, generator=generator).abs()},
        (FIX, AFF, FORM, GRAD),
    ),
    "probe of equal coordinates": (
        {"draw": lambda x, generator: rademacher(x[:, :1], generator=generator).expand_as(x)},
        (FIX, AFF, FORM, GRAD, VAR),
    ),
}
ALL = {
    **{f"{kind}: {name}": (kind, *STEPS[name]) for kind in ("implicit", "sliced") for name in STEPS},
    "implicit: mean for sum": ("implicit", {"reduce": lambda v: v.flatten(1).mean(1)}, (AFF, FORM, GRAD)),
    "sliced: mean for sum": ("sliced", {"reduce": lambda v: v.flatten(1).mean(1)}, (AFF, FORM, GRAD, VAR)),
    "implicit: mean over the batch": ("implicit", {"trace": lambda t: t.mean().expand_as(t)}, (ALONE,)),
    "implicit: last axis for the event": ("implicit", {"reduce": lambda v: v.sum(-1).flatten(1)[:, 0]}, (FORM, GRAD)),
    **{f"sliced: {name}": ("sliced", *PROBES[name]) for name in PROBES},
    "plain: 1/2 missing": ("plain", {"norm": lambda s: s}, (FIX, AFF, FORM, GRAD)),
    "plain: unit-sphere probe": ("plain", {"draw": _unit}, (AFF, FORM, GRAD, VAR)),
}
TRUTH = {"implicit": estimates.implicit, "sliced": estimates.sliced, "plain": estimates.plain}


def _rejects(check: str, estimator: Estimator, form: estimates.Form, seed: int) -> bool:
    def make(model: losses.ScoreModel, noise: losses.NoiseSchedule) -> Objective:
        return Objective(model, estimator, noise)

    match check:
        case "fixpoint":
            return losses.fixpoint(make, gauss3(), seed, batches=60) < ALPHA
        case "affine_w":
            return losses.affine_w(make, gauss3(), seed) < ALPHA
        case "closed_form":
            return estimates.closed_form(estimator, form, (3, 4), seed) > 1e-10
        case "closed_gradient":
            return estimates.closed_gradient(estimator, form, (3, 4), seed) > 1e-10
        case "probe_variance":
            return estimates.probe_variance(estimator, "rademacher", seed) > BOUND
        case "singletons":
            return estimates.singletons(estimator, coupled, *problem(seed, 5, (3, 2)), seed) > 1e-10
    raise ValueError(check)


@pytest.mark.parametrize("kind", TRUTH)
def test_the_unbroken_twin_is_accepted_by_every_check(kind, seed):
    for check in (FIX, AFF, FORM, GRAD, ALONE, *([] if kind == "implicit" else [VAR])):
        assert not _rejects(check, Twin(kind), TRUTH[kind], seed), check


@pytest.mark.parametrize("name", ALL)
def test_mutants_are_rejected(name, seed):
    kind, broken, checks = ALL[name]
    for check in checks:
        assert _rejects(check, Twin(kind, **broken), TRUTH[kind], seed), f"{check} lets {name!r} pass"


# ------------------------------------------------------------------------------------------------------------------
# denoising with less variance, and finite differences


@final
class Other(Estimator):
    """An estimator given by a function of (score, x, sigma, eps, generator)."""

    def __init__(self, function: Callable[..., Tensor]):
        self.function = function

    needs_noise: ClassVar[bool] = True

    def __call__(
        self, score: TensorFunction, x: Tensor, sigma: Tensor, eps: Tensor, *, generator: Generator = None
    ) -> Tensor:
        return self.function(score, x, expand(sigma, x), eps, generator)


def _half(r: Tensor) -> Tensor:
    return sum_event(r.square()) / 2


def _antithetic(score, x, sigma, eps, generator, back=2.0, sign=-1.0, share=0.5):
    mirrored = _half(score(x - back * sigma * eps) + sign * eps / sigma)
    return share * (_half(score(x) + eps / sigma) + mirrored)


def _controlled(score, x, sigma, eps, generator, back=1.0, factor=-1.0, detach=False):
    plain = _half(score(x) + eps / sigma)
    s = score(x - back * sigma * eps)
    return plain + factor * sum_event((s.detach() if detach else s) * eps / sigma)


def _difference(score, x, sigma, eps, generator, width=2.0, centre=lambda a, b: (a + b) / 2):
    v = rademacher(x, generator=generator)
    a, b = score(x + 0.03 * sigma * v), score(x - 0.03 * sigma * v)
    return sum_event(v * (a - b) / (width * 0.03 * sigma)) + _half(centre(a, b))


DENOISING = {
    "antithetic: no step back": (estimates.antithetic, _antithetic, {"back": 0.0}, (FIX, FORM, GRAD)),
    "antithetic: step to the clean x": (estimates.antithetic, _antithetic, {"back": 1.0}, (FIX, AFF, FORM, GRAD)),
    "antithetic: sign of eps kept": (estimates.antithetic, _antithetic, {"sign": 1.0}, (FIX, AFF, FORM, GRAD)),
    "antithetic: sum for mean": (estimates.antithetic, _antithetic, {"share": 1.0}, (AFF, FORM, GRAD)),
    "control variate: added": (estimates.control_variate, _controlled, {"factor": 1.0}, (FORM, GRAD)),
    "control variate: at x": (estimates.control_variate, _controlled, {"back": 0.0}, (FIX, AFF, FORM, GRAD)),
    "control variate: at the mirror image": (
        estimates.control_variate, _controlled, {"back": 2.0}, (FIX, AFF, FORM, GRAD),
    ),
    "control variate: detached": (estimates.control_variate, _controlled, {"detach": True}, (GRAD,)),
    "difference over e": (estimates.sliced, _difference, {"width": 1.0}, (FIX, AFF, FORM, GRAD)),
    "sum of the two scores": (
        estimates.sliced, _difference, {"centre": lambda a, b: a + b}, (FIX, AFF, FORM, GRAD),
    ),
    "norm of one side": (estimates.sliced, _difference, {"centre": lambda a, b: a}, (FORM, GRAD)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("form", "function"),
    [
        (estimates.antithetic, _antithetic),
        (estimates.control_variate, _controlled),
        (estimates.sliced, _difference),
    ],
    ids=["antithetic", "control variate", "difference"],
)
def test_the_unbroken_forms_are_accepted(form, function, seed):
    for check in (FIX, AFF, FORM, GRAD):
        assert not _rejects(check, Other(function), form, seed), check


@pytest.mark.parametrize("name", DENOISING)
def test_mutants_of_the_other_forms_are_rejected(name, seed):
    form, function, options, checks = DENOISING[name]

    def broken(*args):
        return function(*args, **options)

    for check in checks:
        assert _rejects(check, Other(broken), form, seed), f"{check} lets {name!r} pass"
