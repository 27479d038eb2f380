"""The log ratio is formed in float32 or better, whatever the type of the chains."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scorekit import PerChain
from scorekit.base import Generator, Target, uniform
from scorekit.kernels import MetropolisAdjusted
from scorekit.proposals import Hamiltonian, RandomWalk
from tests.kernels.cases import KERNELS, MALA, NAMES, WALK, H, chains, plus
from tests.kernels.twins import Twin
from tests.laws import kernels as laws
from tests.laws.statistics import ALPHA
from tests.laws.targets import gauss3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("score_only", [False, True])
@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_the_ratio_is_in_float32_or_better_and_x_keeps_its_type(kernel, score_only, dtype):
    target = Target(lambda x: -x, None if score_only else lambda x: -x.square().flatten(1).sum(1) / 2)
    x = chains(5, 0, (3, 4)).to(dtype)
    state, info = kernel.step(target.point(x), kernel.init(target.point(x)), H, generator=PerChain(0))
    wide = torch.promote_types(dtype, torch.float32)
    assert state.x.dtype == dtype
    assert info.log_accept.dtype == info.energy_error.dtype == wide
    assert info.accepted.dtype == info.nonfinite.dtype == info.trusted.dtype == torch.bool
    assert all(part is None or part.dtype == dtype for part in state)


@pytest.mark.parametrize("score_only", [False, True])
def test_a_large_offset_of_the_log_density_leaves_float32_chains_right(score_only, seed):
    """1e4 in float32 is a resolution of .001; a score-only kernel does not see it."""
    law = laws.gaussian(gauss3())
    target = Target(law.target.score, None if score_only else plus(law.target, 1e4).log_prob)
    shifted = replace(law, target=target, draw=lambda n, g: law.draw(n, g).float(), pit=lambda x: law.pit(x.double()))
    assert laws.stationary(MALA, shifted, torch.tensor(0.3), seed) > ALPHA


def test_log_densities_are_subtracted_in_float32_or_better():
    """From -60,000 to 60,000: the difference is beyond float16."""
    x = chains(5, 0).half()
    target = Target(lambda x: -x, lambda y: torch.where((y == x).all(1), -6e4, 6e4).half())
    point = target.point(x)
    _, info = WALK.step(point, WALK.init(point), H, generator=PerChain(0))
    assert info.log_accept.tolist() == pytest.approx([1.2e5] * 5, rel=1e-3)
    assert info.accepted.all()


def test_no_move_is_accepted_for_want_of_digits_in_a_uniform_draw(seed):
    """A uniform of bfloat16 is exactly 0 once in 256 draws, and would accept anything: here r = -20, n = 20,000."""
    x = torch.zeros(20_000, 2, dtype=torch.bfloat16)
    point = Target(lambda y: -y, lambda y: torch.where((y == 0).all(1), 0.0, -20.0).to(y)).point(x)

    def few(r: Tensor, *, generator: Generator) -> Tensor:
        return uniform(r.bfloat16(), generator=generator)

    right, wrong = (
        kernel.step(point, kernel.init(point), H, generator=PerChain(seed))[1].accepted.sum()
        for kernel in (WALK, Twin(RandomWalk(), {"draw": few}))
    )
    assert right == 0
    assert wrong > 30


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
def test_an_offset_of_2_to_the_40_leaves_the_acceptance_alone(kernel, seed):
    """The resolution is 2^-12 there; the mutant clamps log densities at 1e10, which nothing else shows."""
    law = laws.gaussian(gauss3())
    far = plus(law.target, 2.0**40)
    clamped = replace(far, log_prob=lambda x: far.log_prob(x).clamp(max=1e10))
    x = law.draw(5000, torch.Generator().manual_seed(seed))
    plain, offset, mutant = (
        laws.steps(kernel, target, x, 0.5, 1, PerChain(seed))[-1].info.accepted.double().mean()
        for target in (law.target, far, clamped)
    )
    assert abs(offset - plain) < 0.01 < abs(mutant - plain)


def test_bfloat16_chains_of_an_image_have_a_ratio_right_to_two_tenths(seed):
    """N(0, I) in 3,072 numbers: summed in bfloat16 the ratio would be off by 5. Simpson's midpoints are rounded to
    bfloat16 (a relative 2^-8 / sqrt 3 at most), which 3 x 3,072 of them, 2/3 of the weight and moves of .2 make a
    standard error of .04 at most; x and the momenta are what they are."""
    target = Target(lambda x: -x)
    x = chains(20, seed, (3, 32, 32)).bfloat16()
    kernel, h = MetropolisAdjusted(Hamiltonian(3)), torch.tensor(0.02)
    point = target.point(x)
    _, info = kernel.step(point, kernel.init(point), h, generator=PerChain(seed))
    move = kernel.proposal.propose(point, h, generator=PerChain(seed))
    assert move.momenta is not None
    ends = [v.double().square().flatten(1).sum(1) / 2 for v in (x, *move.momenta, move.path[-1].x)]
    assert (info.log_accept - (ends[0] + ends[1] - ends[2] - ends[3])).abs().max() < 0.2
