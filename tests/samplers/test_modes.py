"""Sampling and autograd: what is recorded, inference mode, and the modes of a network."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scorekit import (
    AnnealedMCMC,
    Constant,
    Denoise,
    DirectScore,
    Langevin,
    PerChain,
    ScaledScore,
    SigmaSquared,
    Unadjusted,
    Uniform,
    annealed_langevin,
    from_score,
    sample,
)
from scorekit.base import (
    Kernel,
    Point,
    Target,
    TargetFamily,
    Transition,
)
from scorekit.kernels import Position
from tests.laws.components import (
    Deciding,
    Moody,
    Shrink,
    SignalToNoise,
    Watch,
)
from tests.laws.drivers import run
from tests.laws.targets import gauss3
from tests.samplers.cases import NOISE, Trainable, draws


def test_the_callers_autograd_is_as_it_was_between_updates():
    for step in AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 2, Shrink(), final=Denoise()).steps(
        gauss3(), draws(), generator=PerChain(0)
    ):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not step.x.requires_grad


@pytest.mark.parametrize("uses_point", [False, True])
def test_no_update_records_a_graph(uses_point):
    rule = SignalToNoise(0.1) if uses_point else SigmaSquared()
    watch = Watch(DirectScore(Trainable()))
    sampler = AnnealedMCMC(Unadjusted(Langevin()), NOISE, rule, 2, final=Denoise())
    x = draws().requires_grad_()
    assert not run(sampler, watch, x, PerChain(0)).requires_grad
    assert not any(grad for _, grad, _ in watch.evaluated)


def test_neither_start_nor_kernel_nor_transition_records_a_graph():
    """Each evaluates something that depends on a parameter; none of what is yielded does."""
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)

    class Scaled(TargetFamily):
        moments = (0 * scale, scale)

        def at(self, sigma: float, *, like: Tensor | None = None, generator: object = None) -> Target:
            return Target(lambda x: -scale * x, lambda x: -scale * x.square().sum(1) / 2)

    class Uphill(Transition):
        def move(self, family, point, target, sigma_from, sigma_to, carry=None, *, generator=None):
            return point.x + target.score(point.x), carry

    sampler = AnnealedMCMC(Deciding(), NOISE, Constant(0.2), 1, Uphill(), final=Uphill())
    x = sampler.initial((4, 3), family=Scaled(), generator=PerChain(0))
    assert not x.requires_grad
    for step in sampler.steps(Scaled(), x, generator=PerChain(0)):
        assert not step.x.requires_grad
        assert step.info is None or not step.info.log_accept.requires_grad
    inits = []

    class Noting(Kernel):
        def init(self, point: Point, *, generator: object = None) -> Position:
            inits.append((point.score.requires_grad, torch.is_grad_enabled()))
            return Position(point.x)

        def step(self, point, state, step_size, *, generator=None):
            return state, None

    run(replace(sampler, kernel=Noting()), Scaled(), x, PerChain(0))
    assert inits == [(False, False)] * 4


@pytest.mark.parametrize(
    ("family", "inference"),
    [(gauss3(), True), (DirectScore(Moody()), True), (from_score(lambda x, sigma: -x), False)],
    ids=["density", "network", "function"],
)
def test_inference_mode_is_used_where_the_family_allows_it(family, inference):
    watch = Watch(family)
    x = sample(annealed_langevin(NOISE, steps_per_level=1, start=Uniform()), watch, (2, 3), generator=PerChain(0))
    assert {mode for _, _, mode in watch.evaluated} == {inference}
    assert not x.is_inference()
    weight = torch.ones(3, requires_grad=True)
    (x * weight).sum().backward()  # a tensor of inference mode could not be saved for this
    assert torch.allclose(weight.grad, x.sum(0))
    assert torch.is_grad_enabled()


def test_a_tensor_of_inference_mode_would_be_noticed():
    with torch.inference_mode():
        x = torch.ones(2)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        (x * torch.ones(2, requires_grad=True)).sum()


def test_a_network_samples_in_evaluation_mode_and_gets_its_own_modes_back():
    net = Moody()
    model = ScaledScore(net)
    modes = [module.training for module in model.modules()]
    sampler = annealed_langevin(NOISE, steps_per_level=2, start=Uniform())
    one, two = (sample(sampler, model, (3, 2), generator=PerChain(0)) for _ in range(2))
    assert torch.equal(one, two)  # dropout was off
    assert not any(map(any, net.modes))
    assert [module.training for module in model.modules()] == modes


def test_the_modes_come_back_after_an_error_too():
    model = DirectScore(Moody(fails=True))
    modes = [module.training for module in model.modules()]
    with pytest.raises(ArithmeticError, match="planted"):
        sample(annealed_langevin(NOISE, start=Uniform()), model, (3, 2), generator=PerChain(0))
    assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
