"""The streams are what the papers say, independent in every direction, and pure."""

import itertools
import math
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scorekit import (
    AnnealedMCMC,
    Constant,
    Denoise,
    DenoisingScoreMatching,
    DirectScore,
    Geometric,
    Langevin,
    Matched,
    Objective,
    PerChain,
    SigmaSquared,
    Unadjusted,
    Uniform,
    fork,
    sample,
)
from scorekit.base import normal, rademacher, shift, uniform
from scorekit.random import threefry
from tests.laws.components import Deciding
from tests.laws.statistics import ALPHA, BOUND, ks_pvalue, normal_pvalue, uniform_pvalue
from tests.laws.targets import gauss3, mixture3

DRAWS = {"normal": normal, "uniform": uniform, "rademacher": rademacher}
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ONES = 0xFFFFFFFF


# --------------------------------------------------------------------------------------------------------- threefry


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((ONES, ONES), (ONES, ONES), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_words(key, counter, words):
    """The known-answer vectors of the Random123 distribution, with Python ints and with tensors."""
    assert threefry(key, counter) == words
    tensors = threefry(tuple(map(torch.tensor, key)), tuple(map(torch.tensor, counter)))
    assert tuple(word.item() for word in tensors) == words


def test_a_chain_draws_the_words_that_the_definition_names():
    """threefry(threefry(key, (chain, 0)), (coordinate, draw)), with the seed as the key."""
    streams = PerChain(0x1234_5678_9ABC, first=3)
    streams.bits(2, 2, torch.device("cpu"))
    high, low = streams.bits(2, 2, torch.device("cpu"))  # the second draw: number 1
    for row, coordinate in itertools.product(range(2), range(2)):
        chain_key = threefry((0x5678_9ABC, 0x1234), (3 + row, 0))
        assert threefry(chain_key, (coordinate, 1)) == (high[row, coordinate].item(), low[row, coordinate].item())


# ------------------------------------------------------------------------------------------------------------- laws


def _uniforms(streams: PerChain, chains: int, coordinates: int, draws: int) -> torch.Tensor:
    like = torch.empty(chains, coordinates, dtype=torch.float64)
    return torch.stack([uniform(like, generator=streams) for _ in range(draws)])


def test_uniforms_are_uniform_and_independent_across_coordinates_draws_and_chains(streams):
    """A block of 64 draws x 512 chains x 8 coordinates, read along each axis: KS, and 116 Legendre statistics of eight
    neighbours along the axis, n = 32,768."""
    block = _uniforms(streams, 512, 8, 64)
    assert ks_pvalue(block) > ALPHA
    assert uniform_pvalue(block.reshape(-1, 8)) > ALPHA  # coordinates
    assert uniform_pvalue(block.permute(1, 2, 0).reshape(-1, 8)) > ALPHA  # draws
    assert uniform_pvalue(block.permute(0, 2, 1).reshape(-1, 8)) > ALPHA  # chains


def test_the_independence_test_sees_a_word_used_twice(streams):
    block = _uniforms(streams, 512, 8, 64)
    block[:, 1::2] = block[:, ::2]
    assert uniform_pvalue(block.permute(0, 2, 1).reshape(-1, 8)) < ALPHA


def test_normals_are_normal_and_independent(streams):
    """n = 200,000; the pairs of Box and Muller share a radius, so their squares are tested too."""
    z = torch.stack([normal(torch.empty(1000, 8, dtype=torch.float64), generator=streams) for _ in range(25)])
    assert ks_pvalue(z, "norm") > ALPHA
    assert normal_pvalue(z.reshape(-1, 8)) > ALPHA
    squares = z.reshape(-1, 8).square() - 1
    correlation = torch.corrcoef(squares.T) - torch.eye(8)
    assert correlation.abs().max() * math.sqrt(len(squares)) < BOUND


@pytest.mark.parametrize("what", ["seed", "integer label", "string label", "level and step", "shift"])
def test_streams_of_different_names_are_independent(what, seed):
    """Forty streams of n = 4,096: the largest |correlation| x sqrt(n) over 780 pairs, of raw draws and of squares."""
    root = PerChain(seed)
    family = {
        "seed": lambda i: PerChain(seed + i),
        "integer label": root.fork,
        "string label": lambda i: root.fork(f"name {i}"),
        "level and step": lambda i: root.fork(i // 8).fork(i % 8),
        "shift": lambda i: root.shift(64 * i),
    }[what]
    like = torch.empty(64, 64, dtype=torch.float64)
    rows = torch.stack([normal(like, generator=family(i)).flatten() for i in range(40)])
    for values in (rows, rows.square()):
        off_diagonal = torch.corrcoef(values) - torch.eye(40)
        assert off_diagonal.abs().max() * math.sqrt(values.shape[1]) < BOUND + 1.2  # Bonferroni over 780 pairs


def test_rademacher_is_balanced_and_of_size_one(streams):
    signs = rademacher(torch.empty(1000, 1000), generator=streams)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(signs.mean().item()) * math.sqrt(signs.numel()) < BOUND


# ------------------------------------------------------------------------------------------------------- precisions


def test_float32_and_float64_draw_the_same_numbers():
    like = torch.empty(500, 101)
    for draw, tolerance in ((uniform, 2**-24), (normal, 1e-5)):
        low, high = draw(like, generator=PerChain(1)), draw(like.double(), generator=PerChain(1))
        assert (low - high).abs().max() <= tolerance


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_uniform_is_never_one_and_a_normal_always_finite(dtype, monkeypatch):
    """At the extreme words, which no test of samples would meet."""
    like = torch.empty(2, 3, dtype=dtype)
    for high, low in itertools.product((0, 1, ONES - 1, ONES), repeat=2):
        streams = PerChain(0)
        words = torch.tensor([high, low]).reshape(2, 1, 1)
        monkeypatch.setattr(streams, "bits", lambda b, n, device, words=words: tuple(words.expand(2, b, n)))
        u = uniform(like, generator=streams)
        z = normal(like, generator=streams)
        assert u.dtype == z.dtype == dtype
        assert ((u >= 0) & (u < 1)).all()
        assert z.isfinite().all()
        assert z.abs().max() < 6.7
    naive = torch.tensor(ONES * 2.0**-32, dtype=torch.float64).to(dtype)  # the mutant: round the 32-bit fraction
    assert (naive == 1) == (dtype != torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_of_every_precision_follow_their_law(dtype, streams):
    """To the resolution of the type: moments of 10^6 uniforms and normals within 4.9 standard errors + one digit."""
    like = torch.empty(1000, 1000, dtype=dtype)
    u, z = uniform(like, generator=streams).double(), normal(like, generator=streams).double()
    digit = {torch.bfloat16: 2**-8, torch.float16: 2**-11}.get(dtype, 0)
    assert u.max() < 1
    assert abs(u.mean().item() - 0.5) < BOUND * 12**-0.5 / 1000 + digit
    assert abs(z.mean().item()) < BOUND / 1000
    assert abs(z.var().item() - 1) < BOUND * 2**0.5 / 1000 + digit


# -------------------------------------------------------------------------------------------------------- algebra


LABELS = st.one_of(st.integers(0, ONES), st.text("aé '", max_size=5))


@given(seed=st.integers(0, 2**63 - 1), labels=st.lists(LABELS, max_size=3))
def test_a_repr_gives_the_same_streams_back(seed, labels):
    streams = PerChain(seed, first=7)
    for label in labels:
        streams = streams.fork(label)
    like = torch.empty(2, 3)
    again = eval(repr(streams))
    assert repr(again) == repr(streams)
    assert torch.equal(normal(like, generator=streams), normal(like, generator=again))


@given(seed=st.integers(0, 2**63 - 1), a=st.integers(0, 2**20), b=st.integers(0, 2**20), label=st.integers(0, ONES))
def test_shifts_add_up_and_commute_with_forks(seed, a, b, label):
    root, like = PerChain(seed), torch.empty(3, 2)
    one = normal(like, generator=root.shift(a).shift(b).fork(label))
    two = normal(like, generator=root.fork(label).shift(a + b))
    assert torch.equal(one, two)


def test_a_shift_is_the_tail_of_the_batch():
    whole = normal(torch.empty(10, 3), generator=PerChain(2))
    assert torch.equal(normal(torch.empty(6, 3), generator=PerChain(2).shift(4)), whole[4:])
    assert torch.equal(normal(torch.empty(6, 3), generator=PerChain(2, first=4)), whole[4:])


def test_a_fork_does_not_depend_on_what_its_parent_drew():
    root, like = PerChain(3), torch.empty(2, 2)
    before = normal(like, generator=root.fork("a"))
    normal(like, generator=root)
    assert torch.equal(before, normal(like, generator=root.fork("a")))


def test_draws_of_one_object_differ_and_a_new_object_begins_again():
    root, like = PerChain(3), torch.empty(2, 2)
    first, second = normal(like, generator=root), normal(like, generator=root)
    assert not torch.equal(first, second)
    assert torch.equal(first, normal(like, generator=PerChain(3)))


def test_labels_do_not_collide():
    """Strings, their checksums as integers, chains, and the order of two forks: all different keys."""
    root, like = PerChain(0), torch.empty(1, 2, dtype=torch.float64)
    generators = [root, root.shift(1), *(root.fork(i) for i in range(300)), *(root.fork(str(i)) for i in range(300))]
    generators += [root.fork(zlib.crc32(str(i).encode())) for i in range(10)]
    generators += [root.fork(1).fork(2), root.fork(2).fork(1), root.fork("a").fork(1), root.fork(1).fork("a")]
    draws = {tuple(normal(like, generator=generator)[0].tolist()) for generator in generators}
    assert len(draws) == len(generators)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_stream_depends_on_the_flattened_event_only(draw):
    flat = draw(torch.empty(4, 24), generator=PerChain(9))
    assert torch.equal(draw(torch.empty(4, 2, 3, 4), generator=PerChain(9)), flat.reshape(4, 2, 3, 4))
    assert torch.equal(draw(torch.empty(2, 24), generator=PerChain(9)), flat[:2])


def test_one_number_per_chain_and_no_chain_at_all():
    assert uniform(torch.empty(5), generator=PerChain(0)).shape == (5,)
    assert normal(torch.empty(0, 3), generator=PerChain(0)).shape == (0, 3)


@pytest.mark.parametrize("generator", [None, torch.Generator()])
def test_fork_and_shift_leave_other_generators_as_they_are(generator):
    assert fork(generator, "a") is generator
    assert shift(generator, 3) is generator


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: PerChain(-1), ValueError, r"seed=-1.*\[0, 2\^63\)"),
        (lambda: PerChain(2**63), ValueError, r"\[0, 2\^63\)"),
        (lambda: PerChain(0, first=-1), ValueError, r"first=-1.*\[0, 2\^32\)"),
        (lambda: PerChain(1.5), TypeError, r"seed=1.5.*integers"),
        (lambda: PerChain("1"), TypeError, "integers"),
        (lambda: PerChain(0).fork(-1), ValueError, r"fork\(-1\).*\[0, 2\^32\)"),
        (lambda: PerChain(0).fork(2**32), ValueError, r"\[0, 2\^32\)"),
        (lambda: PerChain(0).shift(-1), ValueError, "first=-1"),
    ],
)
def test_what_is_out_of_range_is_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


# ------------------------------------------------------------------------------------------------ the global state


def _sampling(generator):
    sampler = AnnealedMCMC(
        Unadjusted(Langevin()), Geometric(1.0, 0.1, 3), SigmaSquared(), 2, start=Matched(), final=Denoise()
    )
    return sample(sampler, gauss3(), (4, 3), generator=generator)


def _deciding(generator):
    sampler = AnnealedMCMC(Deciding(), Geometric(1.0, 0.1, 3), Constant(0.1), 2, start=Uniform())
    return sample(sampler, gauss3(), (4, 3), generator=generator)


def _training(generator):
    model = DirectScore(torch.nn.Module())
    model.net.forward = lambda x, sigma: -x
    return Objective(model, DenoisingScoreMatching(), Geometric())(torch.ones(4, 3), generator=generator).per_example


CONSUMERS = {
    **{name: lambda generator, draw=draw: draw(torch.empty(4, 3), generator=generator) for name, draw in DRAWS.items()},
    "annealed Langevin": _sampling,
    "a deciding kernel": _deciding,
    "an objective": _training,
    "a Gaussian": lambda generator: gauss3().sample(4, generator=generator),
    "a mixture": lambda generator: mixture3().sample(4, 0.5, generator=generator),
}


@pytest.mark.parametrize("make", [PerChain, lambda s: torch.Generator().manual_seed(s)], ids=["PerChain", "Generator"])
@pytest.mark.parametrize("consume", CONSUMERS.values(), ids=CONSUMERS)
def test_given_a_generator_the_global_state_is_untouched_and_the_draws_repeat(consume, make):
    before = torch.get_rng_state()
    first, second = consume(make(11)), consume(make(11))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, second)
    assert not torch.equal(first, consume(make(12)))


@pytest.mark.parametrize("consume", CONSUMERS.values(), ids=CONSUMERS)
def test_without_a_generator_the_global_state_decides(consume):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = consume(None)
        torch.manual_seed(3)
        second = consume(None)
        third = consume(None)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
