"""Every estimator against its closed form on affine scores, and the laws of `laws/losses.py`."""

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scorekit import DenoisingScoreMatching, Objective, PerChain, SingleLevel
from scorekit.base import Estimator, TensorFunction
from scorekit.estimators import (
    ExplicitScoreMatching,
    FiniteDifferenceSliced,
    ImplicitScoreMatching,
    SlicedScoreMatching,
)
from tests.estimators.cases import (
    ALL,
    ANTITHETIC,
    CONTROLLED,
    DSM,
    EVENTS,
    FORMS,
    SEEDS,
    coupled,
    problem,
)
from tests.laws import estimates, losses
from tests.laws.statistics import ALPHA
from tests.laws.targets import covariance_of, gauss3, mixture3


@pytest.mark.parametrize("event", [(1,), (2,), (5,), (10,), (3, 4, 5), (7, 2)], ids=str)
@pytest.mark.parametrize("name", FORMS)
def test_the_values_and_gradients_of_an_affine_score_are_its_closed_form(name, event, seed):
    """tr A and never tr A / d, in every shape of event; at sigma = 0 too, where the estimator takes it."""
    make, form, options = FORMS[name]
    assert estimates.closed_form(make(event), form, event, seed, **options) < 1e-11
    assert estimates.closed_gradient(make(event), form, event, seed, **options) < 1e-11


@given(seed=SEEDS, batch=st.integers(1, 5), event=EVENTS, which=st.sampled_from(ALL))
def test_a_batch_is_its_singletons_and_its_shape_is_nothing_to_it(seed, batch, event, which):
    x, sigma, eps = problem(seed, batch, event)
    value = which(coupled, x, sigma, eps, generator=PerChain(seed))
    flat = which(coupled, x.flatten(1), sigma, eps.flatten(1), generator=PerChain(seed))
    assert value.shape == (batch,)
    assert estimates.singletons(which, coupled, x, sigma, eps, seed) < 1e-10
    assert estimates.error(flat, value) < 1e-10


def _parts_error(estimate: Callable[..., Tensor], seed: int) -> float:
    """An event (3, 4, 4) whose first channel and other two have nothing to do with each other: the loss is the sum."""
    x, sigma, eps = problem(seed, 5, (3, 4, 4))

    def both(y: Tensor) -> Tensor:
        return torch.cat((coupled(y[:, :1]), coupled(y[:, 1:])), dim=1)

    parts = [estimate(coupled, v, sigma, e) for v, e in ((x[:, :1], eps[:, :1]), (x[:, 1:], eps[:, 1:]))]
    return estimates.error(estimate(both, x, sigma, eps), parts[0] + parts[1])


@pytest.mark.parametrize("which", [DSM, ANTITHETIC, CONTROLLED, ImplicitScoreMatching()], ids=repr)
def test_the_loss_of_a_product_is_the_sum_over_its_parts(which, seed):
    def mean(score: TensorFunction, x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
        return which(score, x, sigma, eps) / x[0].numel()  # the mutant: the mean over the event

    assert _parts_error(which, seed) < 1e-12 < 0.1 < _parts_error(mean, seed)


@pytest.mark.parametrize("which", ALL, ids=repr)
def test_draws_come_from_the_generator_alone_and_inputs_stay(which):
    x, sigma, eps = problem(0, 3, (2,))
    before, state = [value.clone() for value in (x, sigma, eps)], torch.get_rng_state()
    first = which(coupled, x, sigma, eps, generator=PerChain(1))
    assert torch.equal(first, which(coupled, x, sigma, eps, generator=PerChain(1)))
    assert all(map(torch.equal, (x, sigma, eps), before))
    assert not x.requires_grad
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("which", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_estimate_has_the_type_of_x(which, dtype):
    x, sigma, eps = (value.to(dtype) for value in problem(0, 3, (2,)))
    assert which(coupled, x, sigma, eps, generator=PerChain(0)).dtype == dtype


@pytest.mark.parametrize("which", ALL, ids=repr)
def test_an_estimator_is_a_value(which):
    assert replace(which) == which
    with pytest.raises(FrozenInstanceError):
        which.probe = "gaussian"
    assert which.needs_noise == isinstance(which, DenoisingScoreMatching)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: DenoisingScoreMatching("antithetical"),
            r"variance_reduction='antithetical'\): expected one of None, 'a",
        ),
        (lambda: ImplicitScoreMatching("approximate"), r"trace='approximate'\): expected one of 'exact', 'hutchinson'"),
        (lambda: ImplicitScoreMatching(num_probes=2), r"num_probes=2\): the exact trace draws no probes"),
        (lambda: ImplicitScoreMatching(probe="sphere"), r"probe='sphere', .* the exact trace draws no probes"),
        (lambda: SlicedScoreMatching("yes"), r"variance_reduction='yes'\): expected True or False"),
        (
            lambda: SlicedScoreMatching(probe="uniform"),
            r"SlicedScoreMatching\(probe='uniform'\): expected one of 'rade",
        ),
        (lambda: SlicedScoreMatching(num_probes=0), r"SlicedScoreMatching\(num_probes=0\): expected an integer >= 1"),
        (lambda: FiniteDifferenceSliced(num_probes=1.5), r"num_probes=1.5\): expected an integer >= 1"),
        (lambda: FiniteDifferenceSliced(0.0), r"FiniteDifferenceSliced\(step=0.0\): expected 0 < step < inf"),
        (lambda: FiniteDifferenceSliced(math.nan), r"step=nan\): expected 0 < step < inf"),
    ],
)
def test_bad_arguments_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def _over(estimator: Estimator) -> losses.Make:
    return lambda model, noise: Objective(model, estimator, noise)


@pytest.mark.parametrize(
    ("which", "density"),
    [
        (ANTITHETIC, gauss3()),
        (CONTROLLED, mixture3()),
        (ImplicitScoreMatching(), gauss3()),
        (ImplicitScoreMatching(), mixture3()),
        (SlicedScoreMatching(), gauss3()),
        (SlicedScoreMatching(True, "sphere", 2), mixture3()),
        (SlicedScoreMatching(False, "gaussian"), mixture3()),
        (FiniteDifferenceSliced(), gauss3()),
    ],
    ids=repr,
)
def test_the_truth_is_a_fixpoint_and_the_loss_is_the_fisher_divergence_and_a_constant(which, density, seed):
    """n = 20,000 each, at five levels. `test_mutants_estimators.py` shows what the two reject."""
    assert losses.fixpoint(_over(which), density, seed, batches=100) > ALPHA
    assert losses.affine_w(_over(which), density, seed) > ALPHA


def test_the_explicit_estimator_is_the_fisher_divergence_itself(seed):
    for density in (gauss3(), mixture3()):
        x = density.sample(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        sigma = torch.full((50,), 0.5, dtype=torch.float64)
        estimator, true = ExplicitScoreMatching(density), density.score(x, 0.5)
        assert estimator(losses.Exact(density).at(0.5).score, x, sigma, x).abs().max() < 1e-24
        assert torch.allclose(estimator(lambda y: 0 * y, x, sigma, x), true.square().sum(1) / 2, rtol=1e-12)


@pytest.mark.parametrize("which", [ImplicitScoreMatching(), SlicedScoreMatching(True, "sphere", 8)], ids=repr)
def test_the_precision_that_is_fitted_to_clean_gaussian_data_is_the_inverse_of_their_covariance(which, seed):
    """Sign and scale: s = A x + b minimises the loss at A = -S^-1. The minimum of the loss of the exact trace is the
    inverse of the sample covariance to rounding; n = 4,000 with 8 probes each leaves errors of about 1 %."""
    density = gauss3()
    generator = torch.Generator().manual_seed(seed)
    x = density.sample(4000, generator=generator, dtype=torch.float64)
    model = losses.Linear(torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    objective = Objective(model, which, SingleLevel(0.0))
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=60, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = objective(x, generator=PerChain(seed)).loss
        loss.backward()
        return loss

    optimiser.step(closure)
    exact = which == ImplicitScoreMatching()
    fitted, sample = -torch.linalg.inv(model.a.detach()), torch.cov(x.T, correction=0)
    assert estimates.error(fitted, sample) < (1e-6 if exact else 0.05)
    assert estimates.error(sample, covariance_of(density)) < 0.1
