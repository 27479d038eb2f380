"""The cross product on a mixture in two dimensions: whatever is learned by any estimator is sampled by any sampler.

First the samplers with the exact score, so that what they themselves lack is known; then models, by the distance of
their scores from the exact one; then every sampler on every model. `laws/products.py` has the mixture and the figures.

The whole product is `slow`: `python3 run.py -m pytest -m slow tests/test_combinations.py`, 49 minutes of one busy
core. Every run has a thinned one: each estimator, parametrisation, schedule and sampler once at least.

Bounds. What samplers lack with the exact score, at the steps and levels they are given (40,000 chains): the variance
within modes is up to 1.067 v for unadjusted ones (for Langevin's h = .1 v it is 1 / (1 - h / 2v) = 1.053 on one
Gaussian), for which .07 is added; up to 1.017 for adjusted ones that go through the levels, since they lag behind. The
share of the small mode is off by up to .010.

What models lack is mostly that share: it depends on the log ratio of the modes' densities, the line integral of the
score from one to the other, to which an error of .05 in the score, all along, gives .11. It takes more examples than
the relative Fisher error suggests, and then smaller steps. With modes 3.8 standard deviations apart and 1,500 steps of
training, the shares of two energies, integrated on a grid, were off by +.021 and -.029, and 3 of the 260 cells missed
the bound of .03. At 3.2 apart, with 4,000 steps of 1,024 examples at a rate of .02, the share of one model (sliced,
energy, log-normal) was off by +.019, -.027 and -.002 in three runs, and 1 cell of 260 missed; with 2,048 examples at
.005 by +.004, +.003 and +.001. So those are the numbers here: the worst cell of 260 is at .8 of its bound, under seeds
not looked at before (`--reseed 3`) at .94. The thinned product trains for 200 steps, to relative Fisher errors up to
.045, and has bounds of its own.
"""

from dataclasses import replace
from typing import ClassVar, final

import pytest
import torch
from torch import Tensor

import scorekit as sk
from scorekit.base import Estimator, Generator, TensorFunction, sum_event
from scorekit.estimators.jacobian import linearise, trace
from tests.laws import products
from tests.laws.products import MIXTURE, PARAMETRISATIONS, SCHEDULES, SIGMA, Bounds, Budget, Cell, Figures, Learned
from tests.laws.statistics import BOUND

SAMPLERS = tuple(sk.registry("samplers"))
FULL = Bounds(weight=0.03, low=0.9, high=1.1, bias=0.07)
FULL_BUDGET, FULL_CHAINS, FULL_FISHER = Budget(4000, 2048, 0.005), 8192, 0.03
THIN = Bounds(weight=0.06, low=0.85, high=1.15, bias=0.07)
THIN_BUDGET, THIN_CHAINS, THIN_FISHER = Budget(200, 1024, 0.02), 2048, 0.08


def exactly(found: Figures) -> Bounds:
    return Bounds(
        weight=0.015 + BOUND * found.weight_deviation,
        low=0.98 - BOUND * found.variance_deviation,
        high=1.02 + BOUND * found.variance_deviation,
        bias=0.06,
    )


def exact(name: str, schedule: str, chains: int, generator: Generator, score_only: bool) -> str:
    family = sk.ScoreOnly(MIXTURE) if score_only else MIXTURE
    found = products.run(products.sampler(name, products.schedule(schedule)), family, chains, generator)
    return exactly(found).complaint(f"exact score, {name}, {schedule}, score_only={score_only}: {found}", found)


def test_every_cell_is_in_the_product():
    estimators, cells = sk.registry("estimators"), products.every_cell()
    assert len(PARAMETRISATIONS) == len(SCHEDULES) == 2
    assert len(cells) == len(set(cells)) == len(estimators) * 2 * len(SAMPLERS) * 2
    assert {cell.learned.estimator for cell in cells} == set(estimators)
    assert {cell.sampler for cell in cells} == set(SAMPLERS)


def test_the_thinned_product_has_everything_once_at_least():
    cells = products.thinned()
    assert set(cells) <= set(products.every_cell())
    assert {cell.sampler for cell in cells} == set(SAMPLERS)
    names = [set(column) for column in zip(*(cell.learned for cell in cells), strict=True)]
    assert names == [set(sk.registry("estimators")), set(PARAMETRISATIONS), set(SCHEDULES)]
    assert len({cell.learned for cell in cells}) == len(sk.registry("estimators"))  # so many are trained


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_of_the_exact_score_meets_the_mixture(name, generator):
    number = SAMPLERS.index(name)
    assert exact(name, list(SCHEDULES)[number % 2], 3000, generator, score_only=number % 4 < 2) == ""


@pytest.mark.slow
@pytest.mark.parametrize("score_only", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_of_the_exact_score_meets_the_mixture_closely(name, schedule, score_only, generator):
    assert exact(name, schedule, 20_000, generator, score_only) == ""


@pytest.mark.parametrize("learned", dict.fromkeys(cell.learned for cell in products.thinned()), ids="-".join)
def test_a_model_comes_near_the_exact_score(learned, generator):
    error = products.fisher_error(products.trained(learned, THIN_BUDGET), generator)
    print("-".join(learned), f"relative Fisher error {error:.4f}")
    assert error < THIN_FISHER


@pytest.mark.parametrize("cell", products.thinned(), ids=lambda cell: cell.title)
def test_what_is_learned_is_sampled(cell, generator):
    assert verdict(cell, THIN, THIN_BUDGET, THIN_CHAINS, generator) == ""


@pytest.fixture
def full_budget(request) -> Budget:
    return FULL_BUDGET._replace(run=request.config.getoption("--reseed"))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the one that asks first trains the model
@pytest.mark.parametrize("learned", products.every_learned(), ids="-".join)
def test_every_model_comes_close_to_the_exact_score(learned, full_budget, generator):
    error = products.fisher_error(products.trained(learned, full_budget), generator)
    print("-".join(learned), f"relative Fisher error {error:.4f}")
    assert error < FULL_FISHER


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cell", products.every_cell(), ids=lambda cell: cell.title)
def test_whatever_is_learned_every_sampler_samples_it(cell, full_budget, generator):
    assert verdict(cell, FULL, full_budget, FULL_CHAINS, generator) == ""


def verdict(cell: Cell, bounds: Bounds, budget: Budget, chains: int, generator: Generator) -> str:
    model = products.trained(cell.learned, budget)
    made = products.sampler(cell.sampler, products.schedule(cell.learned.schedule))
    found = products.run(made, model, chains, generator)
    print(cell.title, found)
    return bounds.complaint(cell.title, found)


def test_exact_draws_have_the_figures_that_are_called_known(generator):
    found = products.figures(MIXTURE.sample(200_000, SIGMA, generator=generator), adjusted=True)
    bounds = Bounds(BOUND * found.weight_deviation, 1 - BOUND * found.variance_deviation, 1, 0)
    high = 1 + BOUND * found.variance_deviation
    assert bounds._replace(high=high).complaint("exact draws", found) == ""


def test_a_chain_that_is_not_finite_is_out_of_bounds():
    x = MIXTURE.sample(100, SIGMA)
    x[3, 1] = torch.nan
    complaint = FULL.complaint("one NaN", products.figures(x, adjusted=True))
    assert "weight error +nan, bound 0.0300" in complaint
    assert "variance ratio nan, bounds 0.900 to 1.100" in complaint


HOT = sk.from_score(lambda x, sigma: 0.7 * MIXTURE.score(x, sigma), moments=MIXTURE.moments)
NOISY = sk.from_score(lambda x, sigma: MIXTURE.score(x, 1.4 * sigma), moments=MIXTURE.moments)
EQUAL = sk.densities.GaussianMixture(MIXTURE.means, (0.5, 0.5), MIXTURE.stds)
SHIFTED = sk.densities.GaussianMixture(((-0.9, 0.125), (0.9, 1.475)), MIXTURE.weights, MIXTURE.stds)


@pytest.mark.parametrize("name", ["hmc", "heun", "annealed-langevin"])
@pytest.mark.parametrize(
    ("family", "figure"),
    [(HOT, "variance ratio"), (NOISY, "variance ratio"), (EQUAL, "weight error"), (SHIFTED, "variance ratio")],
    ids=["seven tenths of the score", "the score of another level", "equal weights", "shifted modes"],
)
def test_a_wrong_score_is_out_of_bounds(name, family, figure, generator):
    made = products.sampler(name, products.schedule("geometric"))
    found = products.run(made, family, 1000, generator)
    for bounds in (FULL, THIN, exactly(found)):
        assert figure in bounds.complaint("mutant", found)


@pytest.mark.parametrize(
    ("name", "fault", "figure"),
    [
        ("langevin", {"step_size": sk.Constant(0.4)}, "variance ratio"),
        ("mala", {"steps_per_level": 10}, "variance ratio"),
        ("hmc", {"steps_per_level": 1, "start": sk.Uniform(0.5, 1.5)}, "weight error"),
        ("heun", {"noise": sk.Geometric(products.SIGMA_MAX, 0.7, 50)}, "variance ratio"),
        ("reverse-diffusion", {"noise": sk.Geometric(products.SIGMA_MAX, SIGMA, 10)}, "variance ratio"),
    ],
    ids=["eight times the step", "unmixed", "stuck in one mode", "ends at another level", "few levels"],
)
def test_a_wrong_sampler_is_out_of_bounds(name, fault, figure, generator):
    made = replace(products.sampler(name, products.schedule("geometric")), **fault)
    found = products.run(made, MIXTURE, 1000, generator)
    for bounds in (FULL, THIN, exactly(found)):
        assert figure in bounds.complaint("mutant", found)


@final
class MeanTrace(Estimator):
    """Implicit score matching with the mean, not the sum, on the trace: minimised by half the score."""

    needs_noise: ClassVar[bool] = False

    def __call__(
        self, score: TensorFunction, x: Tensor, sigma: Tensor, eps: Tensor, *, generator: Generator = None
    ) -> Tensor:
        value, pull = linearise(score, x)
        return trace(pull, x) / 2 + sum_event(value.square()) / 2


def test_a_wrong_estimator_is_out_of_bounds(generator):
    learned = Learned("implicit", "score", "geometric")
    model = products.train(learned, Budget(150, 512, 0.02), MeanTrace())
    assert products.fisher_error(model, generator) > 0.2  # about E|s / 2 - s|^2 / E|s|^2 = 1/4; the right one has .065
    made = products.sampler("hmc", products.schedule("geometric"))
    assert THIN.complaint("mutant", products.run(made, model, THIN_CHAINS, generator)) != ""
