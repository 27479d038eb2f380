import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scorekit import DenoisingScoreMatching
from scorekit.base import expand

DSM = DenoisingScoreMatching()
EVENTS = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
SEEDS = st.integers(0, 2**16 - 1)


def _draws(seed: int, batch: int, event: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, eps = torch.randn(2, batch, *event, dtype=torch.float64, generator=generator)
    return x, 0.05 + torch.rand(batch, dtype=torch.float64, generator=generator), eps


def _score(x: torch.Tensor) -> torch.Tensor:
    return x.sin() - x


@given(seed=SEEDS, batch=st.integers(1, 5), event=EVENTS)
def test_the_value_is_its_formula_coordinate_by_coordinate(seed, batch, event):
    x, sigma, eps = _draws(seed, batch, event)
    value = DSM(_score, x, sigma, eps)
    assert value.shape == (batch,)
    for i in range(batch):
        s, z = _score(x[i]).flatten().tolist(), eps[i].flatten().tolist()
        expected = sum((a + b / sigma[i].item()) ** 2 for a, b in zip(s, z, strict=True)) / 2
        assert value[i].item() == pytest.approx(expected, rel=1e-12)


@given(seed=SEEDS, batch=st.integers(1, 5), event=EVENTS, k=st.integers(-6, 6).map(lambda k: 2.0**k))
def test_scaling_space_leaves_the_weighted_loss_alone(seed, batch, event, k):
    """sigma^2 J is invariant under (x, sigma, s(x)) -> (k x, k sigma, s(x / k) / k)."""
    x, sigma, eps = _draws(seed, batch, event)
    one = sigma**2 * DSM(_score, x, sigma, eps)
    two = (k * sigma) ** 2 * DSM(lambda y: _score(y / k) / k, k * x, k * sigma, eps)
    assert torch.allclose(one, two, rtol=1e-12)


@given(seed=SEEDS, batch=st.integers(1, 5), event=EVENTS)
def test_reshaping_and_rotating_the_event_change_nothing(seed, batch, event):
    x, sigma, eps = _draws(seed, batch, event)
    value = DSM(_score, x, sigma, eps)
    flat = DSM(lambda y: _score(y.reshape(x.shape)).flatten(1), x.flatten(1), sigma, eps.flatten(1))
    assert torch.allclose(value, flat, rtol=1e-12)
    n = x[0].numel()
    q, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))

    def turned_score(y: torch.Tensor) -> torch.Tensor:
        return _score((y @ q.T).reshape(x.shape)).flatten(1) @ q

    turned = DSM(turned_score, x.flatten(1) @ q, sigma, eps.flatten(1) @ q)
    assert torch.allclose(value, turned, rtol=1e-9)


def test_it_needs_noise():
    assert DenoisingScoreMatching.needs_noise is True


def test_it_draws_nothing_and_changes_nothing():
    x, sigma, eps = _draws(0, 3, (2,))
    before, state = [value.clone() for value in (x, sigma, eps)], torch.get_rng_state()
    DSM(_score, x, sigma, eps)
    assert all(map(torch.equal, (x, sigma, eps), before))
    assert torch.equal(state, torch.get_rng_state())


def test_the_noise_is_kept_and_not_recovered_by_subtraction():
    """At sigma = 1e-5 in float32 the exact score of a point at 1 gives a weighted loss of 0: 4e-8 with the draw itself,
    1e-3 where eps is recovered as (x - x0) / sigma (the published code)."""
    generator = torch.Generator().manual_seed(0)
    clean, eps = torch.ones(1000, 1), torch.randn(1000, 1, generator=generator)
    sigma = torch.full((1000,), 1e-5)
    noisy = clean + expand(sigma, eps) * eps
    kept = DSM(lambda x: -eps / expand(sigma, x), noisy, sigma, eps)
    recovered = DSM(lambda x: -eps / expand(sigma, x), noisy, sigma, (noisy - clean) / expand(sigma, eps))
    assert (2 * sigma**2 * kept).sqrt().max() < 1e-6
    assert (2 * sigma**2 * recovered).sqrt().max() > 1e-3
