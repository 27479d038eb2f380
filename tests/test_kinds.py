"""A part of the wrong kind is refused where it is given, and the message names the argument, its value and the rule."""

import re
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch

import scorekit as sk
from scorekit._kinds import require_kind
from scorekit.training import TrainingConfig, train

NOISE = sk.Geometric(2.0, 0.1, 5)
DENSITY = sk.densities.Gaussian((0.0, 1.0))
SAMPLER = sk.annealed_mala(NOISE, steps_per_level=1)
NET = sk.networks.MLP((2,), 4, 1)
MODEL = sk.ScaledScore(NET)
DENOISING = sk.DenoisingScoreMatching()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: sk.AnnealedMCMC(sk.Langevin(), NOISE),
            "AnnealedMCMC(kernel=Langevin()): expected Kernel (Unadjusted(...) or MetropolisAdjusted(...)), "
            "got Langevin",
        ),
        (
            lambda: sk.annealed_langevin(0.1),
            "AnnealedMCMC(noise=0.1): expected NoiseSchedule (Levels((2.0, 0.5)), say), got float",
        ),
        (
            lambda: sk.AnnealedMCMC(SAMPLER.kernel, NOISE, 0.1),
            "AnnealedMCMC(step_size=0.1): expected StepSize (Constant(h), say), got float",
        ),
        (lambda: sk.annealed_langevin(NOISE, transition=sk.Heun), "expected Transition, got the class Heun itself"),
        (lambda: sk.annealed_langevin(NOISE, final=None), "(final=None): expected Transition, got NoneType"),
        (lambda: sk.annealed_langevin(NOISE, start=torch.zeros(3)), "expected Start, got Tensor"),
        (
            lambda: sk.Unadjusted(sk.Constant(0.1)),
            "Unadjusted(proposal=Constant(step_size=0.1)): expected Proposal, got",
        ),
        (lambda: sk.MetropolisAdjusted(SAMPLER.kernel), "MetropolisAdjusted(proposal=MetropolisAdjusted("),
        (lambda: sk.MetropolisAdjusted(sk.Langevin(), 5), "(line_integral=5): expected LineIntegral, got int"),
        (
            lambda: sk.Objective(NET, DENOISING, NOISE),
            "expected ScoreModel (DirectScore(network), say; compile it in place",
        ),
        (lambda: sk.Objective(MODEL, NOISE, DENOISING), "Objective(estimator=Geometric(sigma_max=2.0, sigma_min=0.1,"),
        (lambda: sk.Objective(MODEL, DENOISING, 0.1), "Objective(noise=0.1): expected NoiseSchedule, got float"),
        (
            lambda: sk.sample("mala", DENSITY, (3, 2)),
            "sample(sampler='mala'): expected Sampler (langevin(...), say), got",
        ),
        (lambda: sk.sample(SAMPLER, NET, (3, 2)), "expected TargetFamily (ScaledScore(network), from_score("),
        (
            lambda: sk.sample(SAMPLER, DENSITY, 3),
            "shape 3: expected (B, *E), a number of chains and at least one event",
        ),
        (lambda: sk.sample(SAMPLER, DENSITY, (3.0, 2)), "shape (3.0, 2): expected (B, *E)"),
        (
            lambda: sk.sample(SAMPLER, DENSITY, (3, 2), generator=5),
            "generator=5: expected None, a torch.Generator or a",
        ),
        (
            lambda: sk.tuning.tune(SAMPLER, DENSITY, (3, 2), generator=5),
            "generator=5: expected None, a torch.Generator",
        ),
        (lambda: sk.tune(SAMPLER, NET, (3, 2)), "expected TargetFamily (ScaledScore(network), from_score("),
        (
            lambda: sk.tune(SAMPLER.kernel, DENSITY, (3, 2)),
            "expected AnnealedMCMC (annealed_mala(...), say), got Metro",
        ),
        (lambda: sk.DirectScore(torch.sin), "expected Module (MLP(...), say; a function is for from_score), got"),
        (lambda: sk.ScaledScore(NET, (2.0, 0.5)), "ScaledScore(noise=(2.0, 0.5)): expected NoiseSchedule (Levels("),
        (lambda: sk.RoundToLevels(NET), "expected ScoreModel (DirectScore(network), say), got MLP"),
        (lambda: sk.ScoreOnly(NET), "expected TargetFamily, got MLP"),
        (lambda: SAMPLER.steps(NET, torch.zeros(3, 2)), "expected TargetFamily (ScaledScore(network), from_score("),
        (lambda: sk.diagnose(NET, torch.zeros(3, 2)), "expected TargetFamily (ScaledScore(network), from_score("),
        (lambda: sk.diagnose(MODEL, [1.0]), "diagnose(data=[1.0]): expected Tensor (clean examples (N, *E)), got list"),
        (lambda: sk.ExplicitScoreMatching(MODEL), "expected Density, got ScaledScore"),
        (
            lambda: sk.PerCoordinate(0.1, (1.0, 2.0)),
            "PerCoordinate(step_size=0.1): expected StepSize (Constant(h), say)",
        ),
        (lambda: DENSITY.sample(3, generator=5), "generator=5: expected None, a torch.Generator or a PerChain"),
        (lambda: sk.networks.MLP(2), "MLP(event_shape=2): expected Sequence ((2,), say), got int"),
        (lambda: DENSITY.score(np.zeros((3, 2))), "expected Tensor (of shape (B, *E)), got ndarray"),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused(make, said):
    with pytest.raises(TypeError, match=re.escape(said)) as caught:
        make()
    assert "\n" not in str(caught.value)  # a network's repr has many lines


@pytest.mark.parametrize(("count", "shown"), [(2.5, "2.5"), (-2, "-2"), ("two", "'two'")])
def test_a_number_that_is_none_is_refused(count, shown):
    with pytest.raises(ValueError, match=re.escape(f"Gaussian.sample({shown}): expected an integer >= 0")):
        DENSITY.sample(count)
    with pytest.raises(ValueError, match=re.escape(f"sample(batch_size={shown}): expected at least one chain")):
        sk.sample(SAMPLER, DENSITY, (3, 2), batch_size=count)


def test_the_refused_number_of_steps_is_shown_as_it_is():
    with pytest.raises(ValueError, match=re.escape("AnnealedMCMC(steps_per_level='3'): expected an integer >= 0")):
        sk.AnnealedMCMC(SAMPLER.kernel, NOISE, steps_per_level="3")


def test_integers_of_other_libraries_are_integers_in_a_call():
    """A component, which is configuration, is made of Python's own."""
    assert DENSITY.sample(np.int64(3)).shape == (3, 2)
    assert sk.sample(SAMPLER, DENSITY, (np.int64(3), 2)).shape == (3, 2)
    assert sk.sample(SAMPLER, DENSITY, torch.Size((3, 2)), batch_size=np.int64(2)).shape == (3, 2)


def test_the_right_kind_passes_and_no_class_is_its_object():
    require_kind("f", sk.base.Transition, a=sk.Heun(), b=sk.Stay())
    with pytest.raises(TypeError, match=r"^f\(b=<class .*Stay'>\): expected Transition, got the class Stay itself$"):
        require_kind("f", sk.base.Transition, a=sk.Heun(), b=sk.Stay)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_training_without_autograd_is_refused(mode: type[AbstractContextManager]):
    steps = sk.fit(sk.Objective(MODEL, DENOISING, NOISE), DENSITY.sample(20), num_steps=2, batch_size=10)
    with mode(), pytest.raises(ValueError, match="there would be no gradient to follow"):
        next(iter(steps))
    with mode(), pytest.raises(ValueError, match="there would be no gradient to follow"):
        sk.fit(sk.Objective(MODEL, DENOISING, NOISE), DENSITY.sample(20), num_steps=2)


def test_a_run_without_autograd_leaves_nothing_behind(tmp_path):
    config = TrainingConfig(num_steps=2, batch_size=10)
    with torch.no_grad(), pytest.raises(ValueError, match="there would be no gradient to follow"):
        train(sk.Objective(MODEL, DENOISING, NOISE), DENSITY.sample(20), config, out=tmp_path / "run")
    assert not list(tmp_path.rglob("*.*"))
