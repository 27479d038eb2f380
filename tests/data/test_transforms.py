"""Each law beside transforms that are broken on purpose and must fail it."""

import math
from dataclasses import dataclass

import pytest
import torch

from scorekit.data import Compose, Dequantize, Logit, RandomHorizontalFlip, transforms
from scorekit.random import PerChain, uniform

from .makers import random_bytes

STANDARD_ERRORS = 4.9


def levels_batch(levels: int, rows: int = 2_000) -> torch.Tensor:
    """Every grey level in every row: (rows, levels, 1, 1)."""
    return torch.arange(levels, dtype=torch.uint8).reshape(1, levels, 1, 1).repeat(rows, 1, 1, 1)


def check_dequantize(transform, levels: int, generator) -> None:
    """x levels - k is uniform on [0, 1) and independent from pixel to pixel and row to row.

    2,000 rows of 17 or 256 levels. Means of n draws, by level, by row and over all: u has mean 1/2 and variance 1/12,
    u^2 has 1/3 and 4/45, the product of two neighbours 1/4 and 7/144.
    """
    k = levels_batch(levels)
    u = transform.forward(k, generator=generator).double() * levels - k
    assert u.min() >= -1e-4
    assert u.max() < 1 + 1e-4
    for value, mean, variance in ((u, 1 / 2, 1 / 12), (u**2, 1 / 3, 4 / 45)):
        for over in ((0, 2, 3), (1, 2, 3), (0, 1, 2, 3)):
            averages = value.mean(over)
            bound = STANDARD_ERRORS * math.sqrt(variance * averages.numel() / value.numel())
            assert (averages - mean).abs().max() < bound, (value.shape, over)
    for product in (u[:, 1:] * u[:, :-1], u[1:] * u[:-1]):
        bound = STANDARD_ERRORS * 1.5 * math.sqrt(7 / 144 / product.numel())  # neighbours share factors
        assert (product.mean() - 1 / 4).abs() < bound


@dataclass(frozen=True)
class Broken:
    """(k + noise) / scale."""

    noise: str = "uniform"
    scale: float = 256

    def forward(self, x, *, generator=None):
        x = x.float()
        u = {
            "uniform": lambda: uniform(x, generator=generator),
            "none": lambda: torch.full_like(x, 0.5),
            "centred": lambda: uniform(x, generator=generator) - 0.5,
            "per row": lambda: uniform(x[:, :1], generator=generator).expand_as(x),
            "per batch": lambda: uniform(x[:1], generator=generator).expand_as(x),
            "triangular": lambda: (uniform(x, generator=generator) + uniform(x, generator=generator)) / 2,
        }[self.noise]()
        return (x + u) / self.scale


@pytest.mark.parametrize("levels", [17, 256])
def test_dequantize(levels, generator):
    check_dequantize(Dequantize(levels), levels, generator)


def test_dequantize_with_one_stream_for_each_row():
    check_dequantize(Dequantize(256), 256, PerChain(7))


@pytest.mark.parametrize(
    "mutant",
    [
        Broken("none"),
        Broken("centred"),
        Broken("per row"),
        Broken("per batch"),
        Broken("triangular"),
        Broken(scale=255),
    ],
)
def test_dequantize_mutants(mutant, generator):
    check_dequantize(Broken(), 256, generator)
    with pytest.raises(AssertionError):
        check_dequantize(mutant, 256, generator)


@pytest.mark.parametrize("levels", [17, 100, 256])
def test_the_largest_draw_stays_below_the_next_level(levels, monkeypatch):
    """u = 1 - 2^-24, and float32 rounds 255 + u to 256: uncapped, one white pixel in 130,000 leaves [0, 1)."""
    monkeypatch.setattr(transforms, "uniform", lambda like, *, generator=None: torch.full_like(like, 1 - 2**-24))
    k = levels_batch(levels, rows=1)
    x = Dequantize(levels).forward(k).double()
    assert (x < (k.double() + 1) / levels).all()
    assert (x > (k.double() + 1 - 1e-4) / levels).all()
    uncapped = ((k.float() + (1 - 2**-24)) / levels).double()
    assert not (uncapped < (k.double() + 1) / levels).all()


def test_dequantize_floats_are_levels_divided_by_the_largest(generator):
    """torchvision's ToTensor gives k / 255; NCSN writes x 255/256 + u/256."""
    k = random_bytes((4, 3, 8, 8), generator)
    seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
    from_bytes, from_floats = (Dequantize().forward(x, generator=g) for x, g in zip((k, k / 255), seeds, strict=True))
    assert (from_bytes - from_floats).abs().max() < 1e-6
    assert Dequantize().forward((k / 255).double()).dtype == torch.float64


def test_dequantize_inverse_is_a_picture():
    assert Dequantize().inverse(torch.tensor([-0.5, 0.25, 1.5])).tolist() == [0, 0.25, 1]


def check_flip(transform, p: float, generator) -> None:
    """Each of 4,000 pictures is itself or its mirror image, the latter with probability p, whatever its neighbours."""
    x = random_bytes((4_000, 3, 2, 5), generator)
    y = transform.forward(x, generator=generator)
    flipped, kept = ((y == z).flatten(1).all(1) for z in (x.flip(-1), x))
    assert (flipped | kept).all()
    assert not (flipped & kept).any()
    deviation = math.sqrt(p * (1 - p) / 4_000)
    assert abs(flipped.double().mean() - p) <= STANDARD_ERRORS * deviation
    both = (flipped[1:] & flipped[:-1]).double().mean()
    assert abs(both - p * p) <= STANDARD_ERRORS * 1.7 * math.sqrt(p**2 * (1 - p**2) / 4_000)


class BrokenFlip:
    def __init__(self, kind):
        self.kind = kind

    def forward(self, x, *, generator=None):
        unit = uniform(torch.empty(len(x), 1, 1, 1), generator=generator)
        if self.kind == "rows":
            return torch.where(unit < 0.5, x.flip(-2), x)
        if self.kind == "whole batch":
            return torch.where(unit[0] < 0.5, x.flip(-1), x)
        if self.kind == "pixels":
            return torch.where(uniform(x.float(), generator=generator) < 0.5, x.flip(-1), x)
        if self.kind == "channels":
            return torch.where(uniform(torch.empty(len(x), x.shape[1], 1, 1), generator=generator) < 0.5, x.flip(-1), x)
        if self.kind == "pairs":
            return torch.where(unit[::2].repeat_interleave(2, 0) < 0.5, x.flip(-1), x)
        return torch.where(unit < {"never": 0.0, "too often": 0.6}[self.kind], x.flip(-1), x)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_flip(p, generator):
    check_flip(RandomHorizontalFlip(p), p, generator)


def test_flip_with_one_stream_for_each_row():
    x = random_bytes((64, 1, 2, 3), torch.Generator().manual_seed(0))
    whole = RandomHorizontalFlip().forward(x, generator=PerChain(5))
    parts = [RandomHorizontalFlip().forward(x[i : i + 16], generator=PerChain(5, first=i)) for i in range(0, 64, 16)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, x)


@pytest.mark.parametrize("kind", ["rows", "whole batch", "pixels", "channels", "pairs", "never", "too often"])
def test_flip_mutants(kind, generator):
    with pytest.raises(AssertionError):
        check_flip(BrokenFlip(kind), 0.5, generator)


def test_flip_takes_floats_and_keeps_the_dtype(generator):
    x = torch.rand(9, 1, 2, 3, generator=generator, dtype=torch.float64)
    y = RandomHorizontalFlip(1.0).forward(x, generator=generator)
    assert torch.equal(y, x.flip(-1))
    assert RandomHorizontalFlip().inverse(y) is y


def exact_logit(x: torch.Tensor, lam: float) -> torch.Tensor:
    """In float64 with log1p, from the definition."""
    inside = lam + (1 - 2 * lam) * x.double()
    return inside.log() - torch.log1p(-inside)


def check_logit(forward, lam: float) -> None:
    """float32, on a grid with both ends: relative error 1e-6 and y(1 - x) = -y(x)."""
    x = torch.cat([torch.linspace(0, 1, 1025), 1 - torch.logspace(-7, -2, 50)]).double()
    x = torch.cat([x, 1 - x]).float().unsqueeze(0)
    x = x[:, ((1 - x).double() == 1 - x.double()).squeeze(0)]  # where 1 - x is exact in float32
    y = forward(x)
    assert ((y.double() - exact_logit(x, lam)).abs() <= 1e-6 * exact_logit(x, lam).abs() + 1e-6).all()
    assert torch.equal(forward(1 - x), -y)


def naive_logit(x: torch.Tensor) -> torch.Tensor:
    inside = 1e-6 + (1 - 2e-6) * x
    return inside.log() - (1 - inside).log()


def test_logit():
    check_logit(Logit().forward, 1e-6)
    check_logit(Logit(0.05).forward, 0.05)


@pytest.mark.parametrize(
    "mutant",
    [
        naive_logit,
        lambda x: -Logit().forward(x),
        lambda x: torch.logit(x, eps=1e-6),
        Logit(2e-6).forward,
        Logit(0.05).forward,
    ],
)
def test_logit_mutants(mutant):
    with pytest.raises(AssertionError):
        check_logit(mutant, 1e-6)


@pytest.mark.parametrize("lam", [1e-6, 0.05])
def test_logit_there_and_back(lam):
    x = torch.linspace(0, 1, 10_001).unsqueeze(0)
    assert (Logit(lam).inverse(Logit(lam).forward(x)) - x).abs().max() < 3e-7
    assert (Logit(2 * lam).inverse(Logit(lam).forward(x)) - x).abs().max() > 3e-7  # the mutant with another lam
    assert Logit(lam).inverse(torch.tensor([-100.0, 0.0, 100.0])).tolist() == [0, 0.5, 1]


def test_compose_goes_forward_in_order_and_back_in_reverse(generator):
    both = Compose((RandomHorizontalFlip(1.0), Dequantize(), Logit()))
    k = random_bytes((6, 3, 4, 4), generator)
    y = both.forward(k, generator=generator)
    assert y.abs().max() > 1
    picture = both.inverse(y)
    assert (
        (picture * 256).floor() - k.flip(-1)
    ).abs().max() <= 1  # the way through float32's logit may touch the next level
    assert ((picture * 256).floor() == k.flip(-1)).double().mean() > 0.99
    wrong_order = Dequantize().inverse(Logit().inverse(Dequantize().inverse(y)))  # clamps the logits first
    assert (wrong_order - picture).abs().max() > 0.1
    assert Compose().forward(k) is k
    assert Compose().inverse(y) is y


def test_compose_draws_afresh_in_each_part():
    """Two flips with p = 1/2 from one generator must not share their draws: the second would undo the first, always."""
    x = random_bytes((400, 1, 1, 4), torch.Generator().manual_seed(1))
    twice = Compose((RandomHorizontalFlip(), RandomHorizontalFlip()))
    for generator in (torch.Generator().manual_seed(2), PerChain(2)):
        share = (twice.forward(x, generator=generator) != x).flatten(1).any(1).double().mean()
        assert abs(share - 0.5) < STANDARD_ERRORS * 0.5 / math.sqrt(400) + 0.02  # a few rows are their own mirror image


def monte_carlo(transform, x, generator, draws=20_000):
    y = transform.forward(x.repeat(draws, *(1,) * (x.ndim - 1)), generator=generator).double()
    y = y.reshape(draws, *x.shape)
    return y.mean(0), y.square().mean(0), y.std(0) / math.sqrt(draws), y.square().std(0) / math.sqrt(draws)


def check_branches(transform, branches, x, generator) -> None:
    """Against 20,000 draws, 4.9 standard errors; the weights sum to 1."""
    found = branches(x, transform.num_nodes)
    assert sum(weight for weight, _ in found) == pytest.approx(1, abs=1e-12)
    first = sum(weight * y.double() for weight, y in found)
    second = sum(weight * y.double().square() for weight, y in found)
    mean, square, mean_error, square_error = monte_carlo(transform, x, generator)
    assert ((first - mean).abs() <= STANDARD_ERRORS * mean_error + 1e-9).all()
    assert ((second - square).abs() <= STANDARD_ERRORS * square_error + 1e-9).all()


ALL = {
    "dequantize": Dequantize(17),
    "flip": RandomHorizontalFlip(0.3),
    "both": Compose((RandomHorizontalFlip(0.3), Dequantize(17))),
    "logit": Compose((Dequantize(17), Logit())),
    "identity": Compose(),
}


@pytest.mark.parametrize("name", ALL)
def test_branches_have_the_moments_of_forward(name, generator):
    x = torch.tensor([[[[0, 1, 16], [3, 15, 8]]]], dtype=torch.uint8)
    check_branches(ALL[name], ALL[name].branches, x, generator)


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("dequantize", lambda x, n: [(1.0, (x + 0.5) / 17)]),
        ("dequantize", lambda x, n: [(1.0, x / 17)]),
        ("flip", lambda x, n: [(1.0, x)]),
        ("flip", lambda x, n: [(0.3, x), (0.7, x.flip(-1))]),
        ("logit", lambda x, n: ALL["logit"].branches(x, 2)),
    ],
)
def test_branches_mutants(name, mutant, generator):
    x = torch.tensor([[[[0, 1, 16], [3, 15, 8]]]], dtype=torch.uint8)
    with pytest.raises(AssertionError):
        check_branches(ALL[name], mutant, x, generator)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Dequantize(1), ValueError, r"Dequantize\(levels=1\)"),
        (lambda: RandomHorizontalFlip(1.5), ValueError, r"p=1\.5.*\[0, 1\]"),
        (lambda: RandomHorizontalFlip(float("nan")), ValueError, "p=nan"),
        (lambda: Logit(0.0), ValueError, r"lam=0\.0"),
        (lambda: Logit(0.5), ValueError, r"lam=0\.5"),
        (lambda: Dequantize(17).forward(torch.tensor([[17]], dtype=torch.uint8)), ValueError, r"0\.\.16, got 17 to 17"),
        (lambda: Dequantize().forward(torch.tensor([[255.0]])), ValueError, r"0\.\.1, got 255\.0"),
        (lambda: Dequantize().forward(torch.tensor([[torch.nan]])), ValueError, "got nan"),
        (lambda: Logit().forward(torch.tensor([[1.1]])), ValueError, r"0\.\.1, got 1\.1"),
        (lambda: Logit().forward(torch.tensor([[1]])), TypeError, "Dequantize comes first"),
        (lambda: RandomHorizontalFlip().forward(torch.zeros(3, 2)), ValueError, r"got the shape \(3, 2\)"),
    ],
)
def test_bad_values(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_repr_evaluates():
    transform = Compose((RandomHorizontalFlip(0.25), Dequantize(17), Logit(0.01)))
    assert eval(repr(transform)) == transform


def test_a_given_generator_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    for generator in (torch.Generator().manual_seed(0), PerChain(0)):
        Compose((RandomHorizontalFlip(), Dequantize())).forward(levels_batch(256, rows=2), generator=generator)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_on_cuda():
    k = levels_batch(256, rows=4).cuda()
    transform = Compose((RandomHorizontalFlip(), Dequantize(), Logit()))
    assert transform.inverse(transform.forward(k, generator=PerChain(0))).device.type == "cuda"
    cpu = transform.forward(k.cpu(), generator=PerChain(0))
    assert torch.allclose(transform.forward(k, generator=PerChain(0)).cpu(), cpu, atol=1e-4)
