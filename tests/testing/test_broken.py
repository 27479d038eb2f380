"""Each check of the conformance kit rejects what is broken, and names the law."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch

import scorekit as sk
from scorekit import testing
from scorekit.base import (
    StepSize,
    Transition,
)
from scorekit.testing import ConformanceError
from scorekit.testing.statistics import hotelling
from tests.laws.components import SignalToNoise
from tests.laws.flows import OneStage
from tests.testing.broken import (
    BadDensity,
    BadFamily,
    BadMetric,
    BadMove,
    BadSampler,
    BadSchedule,
    BadStart,
    BadStep,
    Doubled,
    Faulty,
    Quadrature,
    Regression,
    StaleRatio,
    Unannounced,
    WrongNoise,
    model,
    net,
)

NETWORK = partial(testing.check_network, event_shape=(2,))
MODEL = partial(testing.check_model, event_shape=(2,))
FAMILY = partial(testing.check_target_family, event_shape=(2,))
BATCH, GLOBAL = "a row depends on no other row", "the global random state is left alone"
BROKEN: list[tuple[Callable[..., None], Any, str]] = [
    (testing.check_noise_schedule, BadSchedule("rising"), "levels decrease"),
    (testing.check_noise_schedule, BadSchedule("single"), "levels decrease"),
    (testing.check_noise_schedule, BadSchedule("shared"), "levels() gives a copy"),
    (testing.check_noise_schedule, BadSchedule("global"), GLOBAL),
    (testing.check_noise_schedule, BadSchedule("batch"), "each row draws its own sigma"),
    (testing.check_noise_schedule, BadSchedule("short"), "training draws every level"),
    (testing.check_noise_schedule, BadSchedule("between"), "training draws are levels"),
    (testing.check_noise_schedule, BadSchedule("outside"), "training draws lie between the ends"),
    (testing.check_noise_schedule, BadSchedule("double"), "the type of a training draw"),
    (testing.check_estimator, Regression("sign"), "the Fisher divergence and a constant"),
    (testing.check_estimator, Regression("half"), "the Fisher divergence and a constant"),
    (testing.check_estimator, Regression("mean"), "the Fisher divergence and a constant"),
    (testing.check_estimator, Regression("batch"), BATCH),
    (testing.check_estimator, Regression("axis"), "the shape of a result for (3, 4, 5)"),
    (testing.check_estimator, Regression("absolute", False), "the Fisher divergence and a constant"),
    (testing.check_estimator, Regression("probe", False), BATCH),
    (testing.check_estimator, Regression("detached", False), "stationary at the true score"),
    (testing.check_estimator, Regression("undeclared", False), "needs_noise tells the truth"),
    (testing.check_estimator, Regression("borrowed", False), "the same value under no_grad"),
    (testing.check_proposal, Doubled(ratio=0.0), "stationary on gauss3"),
    (testing.check_proposal, Doubled(ratio=-1.0), "stationary on gauss3"),
    (testing.check_proposal, Doubled(noise=0.5**0.5), "stationary on gauss3"),
    (testing.check_proposal, Doubled(global_state=True), GLOBAL),
    (testing.check_proposal, Doubled(in_place=True), "inputs stay as they are"),
    (testing.check_proposal, Doubled(batch=True), BATCH),
    (testing.check_proposal, Doubled(last_axis=True), "the event's shape is nothing to it"),
    (testing.check_proposal, Doubled(double=True), "the type of a proposed state"),
    (testing.check_proposal, Doubled(unprojected=True), "every point is projected"),
    (testing.check_proposal, StaleRatio(), "the log ratios of a move and of its reverse cancel"),
    (testing.check_proposal, BadMove("segments"), "the path has num_segments segments"),
    (testing.check_proposal, BadMove("backwards"), "the path starts at the current point"),
    (testing.check_proposal, BadMove("unexpanded"), "h may be (), (B,) or (B, *E)"),
    (testing.check_proposal, Unannounced(), "needs_score tells the truth"),
    (testing.check_kernel, Faulty("early"), "init starts at the point"),
    (testing.check_kernel, Faulty("renamed"), "init and step give one kind of state"),
    (testing.check_kernel, Faulty("reluctant"), "accepted with probability min(1, e^r) on gauss3"),
    (testing.check_kernel, Faulty("frozen"), "the chains move"),
    (testing.check_kernel, Faulty("always"), "stationary on gauss3"),
    (testing.check_kernel, Faulty("stale"), "stationary on gauss3"),
    (testing.check_kernel, Faulty("negated"), "accepted moves are made"),
    (testing.check_kernel, Faulty("silent"), "a kernel that decides says what"),
    (testing.check_kernel, Faulty("shape"), "the shape of Info.log_accept"),
    (testing.check_kernel, Faulty("mean"), "detailed balance on gauss3"),
    (testing.check_kernel, WrongNoise(), "stationary on gauss3 as h -> 0"),
    (testing.check_kernel, sk.Unadjusted(sk.RandomWalk()), "stationary on gauss3 as h -> 0"),
    (testing.check_kernel, sk.Unadjusted(Doubled(drift=0.5)), "stationary on gauss3 as h -> 0"),
    (testing.check_line_integral, Quadrature(), "Metropolis is stationary on loggamma2"),
    (testing.check_line_integral, Quadrature(1.0, 0.0), "reversal of the path changes the sign"),
    (testing.check_line_integral, Quadrature(0.25, 0.25), "exact for a constant score"),
    (testing.check_step_size, SignalToNoise(0.1, mean_over_batch=True), BATCH),
    (testing.check_step_size, BadStep("undeclared"), "uses_point tells the truth"),
    (testing.check_step_size, BadStep("negative"), "0 < h < inf at sigma = 0.1"),
    (testing.check_step_size, BadStep("double"), "the type of h"),
    (testing.check_step_size, BadStep("shape"), "the shape of h"),
    (testing.check_start, BadStart("one"), BATCH),
    (testing.check_start, BadStart("global"), GLOBAL),
    (testing.check_start, BadStart("double"), "the type of the initial chains"),
    (testing.check_start, BadStart("overflow"), "initial chains are finite"),
    (testing.check_start, BadStart("values"), "`like` gives shape, type and device only"),
    (testing.check_sampler, BadSampler("float"), "the type of the initial chains"),
    (testing.check_sampler, BadSampler("count"), "num_updates() is the most that steps yields"),
    (testing.check_sampler, BadSampler("autograd"), "autograd stays as the caller has it"),
    (testing.check_sampler, BadSampler("in place"), "the initial chains stay as they are"),
    (testing.check_sampler, BadSampler("rising"), "levels do not rise"),
    (testing.check_sampler, BadSampler("batch"), BATCH),
    (testing.check_sampler, BadSampler("noise"), "the last states have the family's law"),
    (testing.check_sampler, sk.langevin(step_size=0.01, num_steps=5, start=sk.Uniform()), "the last states"),
    (testing.check_density, BadDensity("half"), "the score is the gradient of log_prob"),
    (testing.check_density, BadDensity("stds add"), "draws at sigma = 0.5 have the score's law"),
    (testing.check_density, BadDensity("clean"), "draws at sigma = 0.5 have the score's law"),
    (testing.check_density, BadDensity("one draw"), BATCH),
    (testing.check_density, BadDensity("broadcast"), "score takes sigma as a float or (B,)"),
    (testing.check_density, BadDensity("moments"), "the variance of the draws is that of moments"),
    (testing.check_density, BadDensity("mean"), "the mean of the draws is that of moments"),
    (testing.check_density, BadDensity("wide moments"), "moments broadcast to the event"),
    (FAMILY, BadFamily("nan"), "the score is a number"),
    (FAMILY, BadFamily("both"), "value_and_score is log_prob and score"),
    (FAMILY, BadFamily("sign"), "the score is the gradient of log_prob"),
    (FAMILY, BadFamily("batch"), BATCH),
    (FAMILY, BadFamily("projection"), "a projected state is its own projection"),
    (testing.check_metric, BadMetric("similarity"), "a shift by one std is further away"),
    (testing.check_metric, BadMetric("constant"), "a shift by one std is further away"),
    (testing.check_metric, BadMetric("tensor"), "the value is a float"),
    (testing.check_metric, BadMetric("infinite"), "the value is a float"),
    (testing.check_metric, BadMetric("cancelling"), "samples in float32 have the value of those in float64"),
    (testing.check_metric, BadMetric("copies"), "a sample is nearest to itself"),
    (testing.check_metric, BadMetric("paired"), "the order of the rows is nothing to it"),
    (testing.check_metric, BadMetric("global"), GLOBAL),
    (NETWORK, net("batch norm"), BATCH),
    (NETWORK, net("dropout"), GLOBAL),
    (NETWORK, net("idle"), "the gradient reaches every parameter"),
    (NETWORK, net("argument"), "from_config undoes to_config"),
    (NETWORK, net("hidden"), "with its weights the made module is this one"),
    (NETWORK, net("sum"), "the shape of the output"),
    (MODEL, model("batch"), BATCH),
    (MODEL, model("float"), "the type of the score"),
    (MODEL, model("autograd"), "inference_mode tells the truth"),
    (MODEL, model("moments"), "the moments travel with the weights"),
    (MODEL, model("variance"), "at(0.3).score is forward"),
]
TRANSITIONS = {
    "drift twice, no noise": OneStage(lambda a, b: a**2 - b**2),
    "noise without its drift": OneStage(lambda a, b: a * (a - b), lambda a, b: (a**2 - b**2) ** 0.5),
    "sign": OneStage(lambda a, b: -a * (a - b)),
    "sigma for sigma^2": OneStage(lambda a, b: a - b),
}


@pytest.mark.parametrize(
    ("check", "component", "law"), BROKEN, ids=[f"{i}-{law[:30]}" for i, (_, _, law) in enumerate(BROKEN)]
)
def test_a_broken_component_is_rejected_by_the_law_that_it_breaks(check, component, law):
    with pytest.raises(ConformanceError) as caught:
        check(component)
    assert caught.value.law.startswith(law), str(caught.value)
    assert caught.value.hint in str(caught.value)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_broken_transition_is_rejected(name):
    with pytest.raises(ConformanceError, match="end with the law of the last one"):
        testing.check_transition(TRANSITIONS[name])


def test_a_final_move_that_is_no_posterior_mean_is_rejected():
    @dataclass(frozen=True)
    class Final(Transition):
        power: int = 1
        only_final = True

        def move(self, family, point, target, sigma_from, sigma_to, carry=None, *, generator=None):
            return point.x + sigma_from**self.power * point.score, None

    with pytest.raises(ConformanceError, match="posterior mean"):
        testing.check_transition(Final())
    testing.check_transition(Final(2))


def test_a_model_is_asked_where_it_is_valid():
    with pytest.raises(ValueError, match=r"sigma = 0\.3 is below"):
        testing.check_model(model("min_sigma"), event_shape=(2,))


def test_a_component_without_a_configuration_is_rejected():
    @dataclass(frozen=True)
    class Tabled(StepSize):
        table: list = field(default_factory=lambda: [0.1])

        def __call__(self, sigma, point):
            return point.x.new_full((), self.table[0])

    with pytest.raises(ConformanceError, match="from_config undoes to_config"):
        testing.check_step_size(Tabled())


def test_a_density_made_of_data_need_not_be_configuration():
    """`Empirical`: the library's own, and its check must not be one that it cannot pass."""
    given = sk.densities.Empirical(torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]], dtype=torch.float64), std=0.2)
    testing.check_density(given, configurable=False)
    with pytest.raises(ConformanceError, match="is not configuration"):
        testing.check_density(given)


def test_the_right_twins_pass():
    """What the broken components are without a fault."""
    testing.check_proposal(Doubled())
    testing.check_noise_schedule(BadSchedule("none"))
    testing.check_proposal(BadMove("none"))
    testing.check_estimator(Regression("none"))
    testing.check_estimator(Regression("none", False))
    testing.check_density(BadDensity("none"))
    FAMILY(BadFamily("none"))
    NETWORK(net("none"))
    MODEL(model("none"))
    testing.check_sampler(BadSampler("none"))


def test_what_leaves_nothing_to_chance_has_a_p_value():
    """A kernel that accepts every move, say: no covariance to divide by."""
    assert hotelling(torch.zeros(9, 2)) == 1
    assert hotelling(torch.full((9, 2), torch.nan)) == 0


def test_a_check_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    NETWORK(net("none"))
    MODEL(model("none"))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_error_says_what_was_found_and_why():
    with pytest.raises(ConformanceError) as caught:
        testing.check_step_size(BadStep("negative"))
    assert str(caught.value) == (
        "check_step_size(BadStep(fault='negative')) breaks the law '0 < h < inf at sigma = 0.1': h = -0.2; expected a "
        "positive, finite step. Usual cause: a difference that changes its sign, or a division by 0"
    )
    assert isinstance(caught.value, AssertionError)
