"""Known coordinates: exact at the end, drawn as the paper draws them, and nothing to the family by themselves."""

import pytest
import torch
from torch import Tensor

import scorekit as sk
from scorekit.base import Generator, Target, TargetFamily, fork, normal
from scorekit.conditioning import Inpaint
from scorekit.testing import check_target_family
from scorekit.testing.targets import gauss3
from tests.conditioning.cases import NOISE, SAMPLERS, Y, drawn, family
from tests.laws.statistics import BOUND

REFRESH = ("level", "step")
FIRST = torch.tensor([True, False, False])
each_refresh = pytest.mark.parametrize("refresh", REFRESH)
each_way = pytest.mark.parametrize(("refresh", "score_only"), [("level", True), ("step", False), ("step", True)])
each_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


# --------------------------------------------------------------------------------------------------- every sampler


@each_way
@each_sampler
def test_a_mask_of_ones_returns_the_observation(sampler, refresh, score_only):
    x = drawn(sampler, Inpaint(family(score_only), torch.ones(3), Y, refresh=refresh))
    assert torch.equal(x, Y.expand(5, 3))


@each_way
@each_sampler
def test_a_mask_of_zeros_is_unconditional_sampling_bit_for_bit(sampler, refresh, score_only):
    problem = Inpaint(family(score_only), torch.zeros(3), Y, refresh=refresh)
    assert torch.equal(drawn(sampler, problem), drawn(sampler, family(score_only)))


class Chatty(TargetFamily):
    """A family that draws by itself: each chain's own shift."""

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        assert like is not None
        shift = normal(like, generator=generator)
        return Target(lambda x: shift - x)


@each_refresh
def test_a_mask_of_zeros_leaves_a_family_that_draws_its_own_numbers(refresh):
    sampler = sk.annealed_langevin(NOISE, steps_per_level=2, start=sk.Uniform())
    problem = Inpaint(Chatty(), torch.zeros(3), Y, refresh=refresh)
    once_a_level = drawn(sampler, Chatty())
    assert torch.equal(drawn(sampler, problem), once_a_level) == (refresh == "level")


def test_the_mutant_that_draws_from_the_familys_stream_disturbs_it():
    class Careless(TargetFamily):
        def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
            normal(like, generator=generator)  # not from a fork
            return Chatty().at(sigma, like=like, generator=generator)

    sampler = sk.annealed_langevin(NOISE, steps_per_level=2, start=sk.Uniform())
    assert not torch.equal(drawn(sampler, Careless()), drawn(sampler, Chatty()))


@each_refresh
@each_sampler
def test_known_coordinates_are_exact_and_the_others_each_chains_own(sampler, refresh):
    x = drawn(sampler, Inpaint(gauss3(), FIRST, Y, refresh=refresh))
    assert torch.equal(x[:, 0], Y[:1].expand(5))
    assert len(x[:, 1:].unique()) == 10


@each_sampler
def test_each_chain_keeps_its_own_mask_and_observation_in_batches(sampler):
    mask = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0]])
    y = torch.arange(15, dtype=torch.float64).reshape(5, 3) / 4
    problem = Inpaint(gauss3(), mask, y)
    whole, cut = drawn(sampler, problem), drawn(sampler, problem, batch_size=2)
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-12)
    known = mask.bool()
    assert torch.equal(cut[known], y[known])


# ---------------------------------------------------------------------------------------------------- Algorithm 2


def observations(problem: Inpaint, sampler: sk.AnnealedMCMC) -> dict[float, list[Tensor]]:
    """The known coordinate after every update, by level."""
    found: dict[float, list[Tensor]] = {}
    x = torch.zeros(400, 3, dtype=torch.float64)
    for step in sampler.steps(problem, x, generator=sk.PerChain(1)):
        found.setdefault(step.sigma, []).append(step.x[:, 0])
    return found


@pytest.mark.parametrize("kernel", [sk.Unadjusted(sk.Langevin()), sk.MetropolisAdjusted(sk.Hamiltonian())])
def test_the_noise_of_the_observation_is_drawn_once_a_level_or_before_every_step(kernel):
    """400 chains: the variance of z is 1 to 4.9 sqrt(2 / 400) = .35."""
    sampler = sk.AnnealedMCMC(kernel, NOISE, steps_per_level=3)
    for refresh, different in (("level", 1), ("step", 3)):
        found = observations(Inpaint(gauss3(), FIRST, Y, refresh=refresh), sampler)
        assert all((each == Y[0]).all() for each in found.pop(0.0))
        assert list(found) == NOISE.levels().tolist()
        draws = {sigma: torch.stack(states).unique(dim=0) for sigma, states in found.items()}
        assert {len(each) for each in draws.values()} == {different}
        z = torch.cat([(each - Y[0]) / sigma for sigma, each in draws.items()])
        assert len(z.unique()) == z.numel()  # each chain, level and draw its own
        assert ((z.square().mean(1) - 1).abs() < BOUND * (2 / 400) ** 0.5).all()
        assert (z.mean(1).abs() < BOUND / 400**0.5).all()


def test_an_unconditional_step_is_what_the_paper_writes():
    """Algorithm 2 by hand: x <- x + h s(x) + sqrt(2 h) z_t, then the known coordinates from y + sigma z."""
    sampler = sk.annealed_langevin(NOISE, steps_per_level=2)
    x = start = torch.zeros(4, 3, dtype=torch.float64)
    streams = sk.PerChain(9)
    for number, sigma in enumerate(NOISE.levels().tolist()):
        drawn_for_it = fork(fork(streams, "family"), number)
        noisy = Y + sigma * normal(x, generator=fork(drawn_for_it, "observation"))
        h = sigma**2 / 8
        x = torch.where(FIRST, noisy, x)
        for t in range(2):
            z = normal(x, generator=fork(fork(streams, number), t))
            x = torch.where(FIRST, noisy, x + h * gauss3().score(x, sigma) + (2 * h) ** 0.5 * z)
    x = torch.where(FIRST, Y, x)
    *_, last = sampler.steps(Inpaint(gauss3(), FIRST, Y), start, generator=sk.PerChain(9))
    torch.testing.assert_close(last.x, x, rtol=0, atol=1e-13)


@each_refresh
def test_it_costs_what_the_family_costs_but_for_adjusted_kernels_with_fresh_noise(refresh):
    from scorekit.evaluation.counting import evaluations_per_sample

    problem = Inpaint(sk.ScoreOnly(gauss3()), FIRST, Y, refresh=refresh)
    langevin = sk.annealed_langevin(NOISE, steps_per_level=5)
    mala = sk.annealed_mala(NOISE, steps_per_level=5)
    assert evaluations_per_sample(langevin, problem, (3,)) == 3 * 5
    assert evaluations_per_sample(mala, problem, (3,)) == 3 * {"level": 2 * 5 + 1, "step": 3 * 5}[refresh]


# --------------------------------------------------------------------------------------------------- what it is made of


@each_refresh
def test_it_is_a_lawful_family(refresh):
    check_target_family(Inpaint(gauss3(), FIRST, Y, refresh=refresh), event_shape=(3,))
    check_target_family(Inpaint(sk.ScoreOnly(gauss3()), FIRST, Y, refresh=refresh), event_shape=(3,))
    energy = sk.from_log_prob(lambda x, sigma: gauss3().log_prob(x, sigma))  # value and score together
    check_target_family(Inpaint(energy, FIRST, Y), event_shape=(3,))


def test_what_is_not_known_may_be_missing():
    y = torch.tensor([1.5, torch.nan, torch.inf], dtype=torch.float64)
    sampler = sk.annealed_mala(NOISE, steps_per_level=2)
    assert torch.equal(drawn(sampler, Inpaint(gauss3(), FIRST, y)), drawn(sampler, Inpaint(gauss3(), FIRST, Y)))


def test_masks_of_any_type_and_observations_of_another_precision():
    sampler = sk.annealed_langevin(NOISE, steps_per_level=2)
    expected = drawn(sampler, Inpaint(gauss3(), FIRST, Y))
    for mask in (FIRST.int(), FIRST.double(), FIRST.to(torch.uint8), FIRST.half()):
        assert torch.equal(drawn(sampler, Inpaint(gauss3(), mask, Y)), expected)
    x = drawn(sampler, Inpaint(gauss3(), FIRST, Y.float()))
    assert x.dtype == torch.float64
    assert torch.equal(x, expected)  # the Y are exact in float32


def test_one_around_another_knows_both():
    inner = Inpaint(gauss3(), FIRST, Y)
    outer = Inpaint(inner, torch.tensor([1, 0, 1]), torch.tensor([7.0, 8.0, 9.0]), refresh="step")
    check_target_family(outer, event_shape=(3,))
    x = drawn(sk.annealed_hmc(NOISE, steps_per_level=2), outer)
    assert torch.equal(x[:, [0, 2]], torch.tensor([[7.0, 9.0]], dtype=torch.float64).expand(5, 2))
    assert outer.refresh == Inpaint(outer, FIRST, Y).refresh == "step"
    assert Inpaint(inner, FIRST, Y).refresh == "level"


def test_its_repr_is_short():
    assert repr(Inpaint(gauss3(), FIRST, Y, refresh="step")) == "Inpaint(Gaussian, 33% known, refresh='step')"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((gauss3().at(1.0), FIRST, Y), TypeError, r"family=.*expected TargetFamily, got Target"),
        ((gauss3(), [1, 0, 0], Y), TypeError, r"mask=\[1, 0, 0\]\): expected Tensor"),
        ((gauss3(), FIRST, [1.0, 2.0, 3.0]), TypeError, r"observed=.*expected Tensor"),
        ((gauss3(), torch.tensor([0.5, 0, 1]), Y), ValueError, r"mask has the value 0.5: expected True or 1"),
        ((gauss3(), torch.tensor([255, 0, 0]), Y), ValueError, r"mask has the value 255"),
        ((gauss3(), torch.tensor([torch.nan, 0, 0]), Y), ValueError, r"mask has the value nan"),
        ((gauss3(), FIRST, torch.ones(3, dtype=torch.uint8)), ValueError, r"torch.uint8: expected floating-point"),
        ((gauss3(), FIRST, torch.ones(4)), ValueError, r"\(3,\) and an observation of shape \(4,\): expected"),
        ((gauss3(), torch.ones(2, 3), torch.ones(4, 3)), ValueError, r"\(2, 3\) and an observation of shape \(4, 3\)"),
        ((gauss3(), FIRST, Y / 0), ValueError, r"NaN or infinite at 1 coordinates that are called known"),
    ],
)
def test_bad_parts_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        Inpaint(*arguments)
    with pytest.raises(ValueError, match="refresh='never'"):
        Inpaint(gauss3(), FIRST, Y, refresh="never")


@pytest.mark.parametrize(
    ("mask", "y", "text"),
    [
        (torch.ones(4), torch.ones(4), r"the mask of shape \(4,\) for 5 chains: expected \(3,\), .* or \(5, 3\)"),
        (torch.ones(4, 3), torch.ones(3), r"the mask of shape \(4, 3\) for 5 chains"),
        (torch.ones(3), torch.ones(4, 3), r"the observation of shape \(4, 3\) for 5 chains"),
        (torch.ones(1, 3), torch.ones(1, 3), r"the mask of shape \(1, 3\) for 5 chains"),  # it merely broadcasts
        (torch.ones(5, 1), torch.ones(5, 1), r"the mask of shape \(5, 1\) for 5 chains"),
    ],
)
def test_what_does_not_fit_the_chains_is_refused_before_anything_is_drawn(mask, y, text):
    sampler, problem, draws = (
        SAMPLERS["annealed-langevin"],
        Inpaint(gauss3(), mask, y),
        torch.Generator().manual_seed(0),
    )
    before = draws.get_state()
    with pytest.raises(ValueError, match=text):
        sk.sample(sampler, problem, (5, 3), generator=draws)
    assert torch.equal(draws.get_state(), before)
    with pytest.raises(ValueError, match=text):
        next(sampler.steps(problem, torch.zeros(5, 3)))


def test_a_target_is_asked_for_with_the_chains():
    with pytest.raises(ValueError, match=r"expected like="):
        Inpaint(gauss3(), FIRST, Y).at(1.0)
