"""Families that draw and project: known coordinates."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from scorekit import (
    AnnealedMCMC,
    Denoise,
    Langevin,
    PerChain,
    SigmaSquared,
    Stay,
    Unadjusted,
)
from scorekit.base import (
    TargetFamily,
    Transition,
)
from tests.laws.components import (
    Paint,
    Shrink,
)
from tests.laws.drivers import run
from tests.laws.targets import gauss3
from tests.samplers.cases import ALD, LEVELS, NOISE, draws


def _painting(refresh: Literal["level", "step"], final: Transition) -> tuple[Paint, Tensor]:
    family = Paint(gauss3(), torch.tensor([1, 0, 0]), torch.tensor([7.0, 0.0, 0.0], dtype=torch.float64), refresh)
    return family, run(replace(ALD, final=final), family, draws(), PerChain(0))


@pytest.mark.parametrize("final", [Stay(), Denoise()])
@pytest.mark.parametrize("refresh", ["level", "step"])
def test_known_coordinates_are_exact_at_the_end(refresh, final):
    _, x = _painting(refresh, final)
    assert torch.equal(x[:, 0], torch.full((4,), 7.0, dtype=torch.float64))
    assert len(x[:, 1].unique()) == 4


def _denoised_where_unknown(family: TargetFamily, final: Transition) -> bool:
    """Whether the last state is the observation where it is known, elsewhere Tweedie's mean of the state before."""
    steps = list(replace(ALD, final=final).steps(family, draws(), generator=PerChain(0)))
    before, sigma = steps[-2].x, LEVELS[-1]
    wanted = (before + sigma**2 * gauss3().score(before, sigma))[:, 1:]
    return bool((steps[-1].x[:, 0] == 7).all()) and bool((steps[-1].x[:, 1:] - wanted).abs().max() < 1e-14)


@pytest.mark.parametrize("refresh", ["level", "step"])
def test_a_denoised_output_is_the_observation_where_known_and_the_denoised_value_elsewhere(refresh):
    mask, y = torch.tensor([1, 0, 0]), torch.full((3,), 7.0, dtype=torch.float64)
    assert _denoised_where_unknown(Paint(gauss3(), mask, y, refresh), Denoise())
    assert not _denoised_where_unknown(Paint(gauss3(), mask, y, refresh), Stay())  # the unknown left noisy
    assert not _denoised_where_unknown(gauss3(), Denoise())  # the known denoised too


@pytest.mark.parametrize(("refresh", "draws"), [("level", 4), ("step", 4 * 3)])
def test_the_observation_is_drawn_once_a_level_or_once_a_step(refresh, draws):
    family, _ = _painting(refresh, Stay())
    noisy = [(sigma, y) for sigma, y in family.observed if sigma > 0]
    assert len(noisy) == draws
    assert [sigma for sigma, _ in noisy] == [sigma for sigma in LEVELS for _ in range(draws // 4)]
    values = torch.stack([(y[:, 0] - 7) / sigma for sigma, y in noisy])
    assert len(values.unique()) == values.numel()  # each chain and each draw its own


@pytest.mark.parametrize("refresh", ["level", "step"])
@pytest.mark.parametrize("transition", [Stay(), Shrink()])
def test_every_state_that_is_yielded_meets_the_constraint(refresh, transition):
    """After each update the known coordinate is one of the observations drawn so far at that level."""
    family = Paint(gauss3(), torch.tensor([1, 0, 0]), torch.full((3,), 7.0, dtype=torch.float64), refresh)
    sampler = AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 2, transition, final=Denoise())
    for step in sampler.steps(family, draws(), generator=PerChain(0)):
        _, y = family.observed[-1]
        assert torch.equal(step.x[:, 0], y[:, 0])
        assert family.observed[-1][0] == step.sigma
    assert all(family.evaluated_on_it)


def test_a_mask_of_zeros_is_unconditional_sampling_bit_for_bit():
    for refresh in ("level", "step"):
        family = Paint(gauss3(), torch.zeros(3), torch.ones(3), refresh)
        assert torch.equal(run(ALD, family, draws(), PerChain(0)), run(ALD, gauss3(), draws(), PerChain(0)))


def test_a_mask_of_ones_returns_the_observation():
    family = Paint(gauss3(), torch.ones(3), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), "step")
    x = run(ALD, family, draws(), PerChain(0))
    assert torch.equal(x, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).expand(4, 3))


def test_a_family_is_asked_with_the_chains_it_is_to_draw_for():
    shapes = []

    class Asked(TargetFamily):
        def at(self, sigma, *, like=None, generator=None):
            shapes.append((sigma, None if like is None else (like.shape, like.dtype)))
            return gauss3().at(sigma)

    run(ALD, Asked(), draws(), PerChain(0))
    assert shapes == [(sigma, ((4, 3), torch.float64)) for sigma in [*LEVELS, 0.0]]
