import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scorekit import PerChain
from scorekit.base import LineIntegral, Point, Target
from scorekit.line_integrals import FreeCubic, GaussLobatto, cubic_weights
from scorekit.proposals import Hamiltonian, Langevin
from tests.laws.components import Trapezoid
from tests.laws.targets import gauss3, mixture3

TRAPEZOID = Trapezoid()
RULES = [GaussLobatto(3), GaussLobatto(4), GaussLobatto(5), FreeCubic()]
H = torch.tensor(0.1, dtype=torch.float64)


def _path(target: Target, x: Tensor, num_leapfrog: int, seed: int = 0, h: Tensor = H) -> tuple[Point, ...]:
    return Hamiltonian(num_leapfrog, 0.0).propose(target.point(x), h, generator=PerChain(seed)).path


def _polynomial(degree: int, seed: int) -> Target:
    """log p(x) = sum_k a_k (w_k . x)^(degree + 1): its score is a gradient field of polynomials of `degree`."""
    a, *w = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    w = torch.stack(w)
    return Target(
        lambda x: (degree + 1) * ((x @ w.T) ** degree * a) @ w, lambda x: ((x @ w.T) ** (degree + 1) * a).sum(1)
    )


def _straight(target: Target, seed: int, num_segments: int) -> tuple[Point, ...]:
    """Equidistant points on a line: along it a score of degree m is a polynomial of degree m in the point's number."""
    a, b = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    return tuple(target.point(a + (b - a) * (i / num_segments)) for i in range(num_segments + 1))


def _difference(path: tuple[Point, ...]) -> Tensor:
    return path[-1].log_prob - path[0].log_prob


@given(rule=st.sampled_from(RULES), seed=st.integers(0, 2**16 - 1), num_segments=st.integers(2, 9), k=st.integers(0, 6))
def test_a_reversed_path_has_the_opposite_integral(rule, seed, num_segments, k):
    x = mixture3().sample(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    path = _path(mixture3().at(0.0), x, num_segments, seed, torch.tensor(2.0**-k, dtype=torch.float64))
    (there, trusted), (back, too) = rule(path), rule(path[::-1])
    assert ((there + back).abs() / (1 + there.abs())).max() < 1e-10
    assert torch.equal(trusted, too)


@pytest.mark.parametrize(("rule", "degree"), [(GaussLobatto(3), 3), (GaussLobatto(4), 5), (GaussLobatto(5), 7)])
@pytest.mark.parametrize("num_segments", [1, 3])
def test_gauss_lobatto_is_exact_up_to_its_degree_and_not_beyond(rule, degree, num_segments):
    for m in range(degree + 2):
        path = _straight(_polynomial(m, 3), 4, num_segments)
        error = (rule(path)[0] - _difference(path)).abs().max() / (1 + _difference(path).abs().max())
        assert (error.item() < 1e-12) is (m <= degree), (m, error)


@given(seed=st.integers(0, 2**16 - 1), degree=st.integers(0, 3), num_leapfrog=st.integers(1, 4))
def test_simpson_gives_the_difference_of_log_densities_for_scores_of_degree_3(seed, degree, num_leapfrog):
    """On the segments of any path, a leapfrog trajectory's among them."""
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    path = _path(_polynomial(degree, seed), x, num_leapfrog, seed, torch.tensor(1e-3, dtype=torch.float64))
    scale = 1 + torch.stack([point.log_prob.abs() for point in path]).amax(0)
    assert ((GaussLobatto()(path)[0] - _difference(path)).abs() / scale).max() < 1e-9


@pytest.mark.parametrize("num_segments", range(2, 10))
def test_the_free_cubic_is_exact_where_the_interpolants_are(num_segments):
    """Scores of degree 3 on equidistant points of a line, and no more; with two segments the parabola is Simpson's rule
    there, whose error at degree 3 cancels."""
    for degree in range(5):
        path = _straight(_polynomial(degree, 5), 6, num_segments)
        error = (FreeCubic(1e9)(path)[0] - _difference(path)).abs().max() / (1 + _difference(path).abs().max())
        assert (error.item() < 1e-12) is (degree <= 3), (degree, error)


def test_the_free_cubic_is_simpsons_rule_on_a_straight_path_of_two_segments():
    path = _straight(gauss3().at(0.5), 7, 2)
    simpson = ((path[0].score + 4 * path[1].score + path[2].score) / 6 * (path[2].x - path[0].x)).sum(1)
    assert (FreeCubic()(path)[0] - simpson).abs().max() < 1e-12


@pytest.mark.parametrize("num_segments", range(2, 12))
def test_the_weights_sum_to_1_and_are_their_own_mirror_image(num_segments):
    weights = torch.tensor(cubic_weights(num_segments), dtype=torch.float64)
    assert weights.shape == (num_segments, num_segments + 1)
    assert (weights.sum(1) - 1).abs().max() < 1e-13
    assert torch.equal(weights, weights.flip(0, 1))


def test_the_weights_of_two_segments_are_the_parabolas():
    """By hand: (1 - t) (2 - t) / 2, t (2 - t), t (t - 1) / 2 times x' = (3/2 - t) d_1 + (t - 1/2) d_2, over [0, 2]."""
    by_hand = [[1 / 2, 2 / 3, -1 / 6], [-1 / 6, 2 / 3, 1 / 2]]
    assert torch.tensor(cubic_weights(2)) == pytest.approx(torch.tensor(by_hand), abs=1e-7)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_better_rules_err_less_than_the_trapezoid_on_trajectories(rule):
    """rms over 2,000 trajectories of 4 steps of .2 on a mixture: trapezoid .025, free cubic .011, Simpson .001."""
    x = mixture3().sample(2000, generator=PerChain(0), dtype=torch.float64)
    path = _path(mixture3().at(0.0), x, 4, h=torch.tensor(0.02, dtype=torch.float64))
    own, trapezoid = (
        (value - _difference(path)).square().mean().sqrt().item() for value in (rule(path)[0], TRAPEZOID(path)[0])
    )
    assert trapezoid > 0.02
    assert own < (0.015 if rule == FreeCubic() else 0.0015)


def test_the_guard_is_the_distance_from_the_trapezoid_rule():
    x = mixture3().sample(2000, generator=PerChain(0), dtype=torch.float64)
    path = _path(mixture3().at(0.0), x, 4, h=torch.tensor(0.2, dtype=torch.float64))
    for guard in (0.1, 1.0):
        value, trusted = FreeCubic(guard)(path)
        assert torch.equal(trusted, (value - TRAPEZOID(path)[0]).abs() <= guard)
        assert 0.3 < trusted.double().mean() < 0.999


def test_gauss_lobatto_trusts_every_move_and_the_free_cubic_none_with_a_nan():
    target = Target(lambda x: torch.where(x > 1, torch.nan, -x))
    path = tuple(target.point(torch.tensor([[0.0], [t]]).double()) for t in (0.0, 1.0, 2.0))
    value, trusted = GaussLobatto()(path)
    assert trusted.tolist() == [True, True]
    assert value.isfinite().tolist() == [True, False]
    value, trusted = FreeCubic()(path)
    assert trusted.tolist() == [True, False]
    assert value.isfinite().tolist() == [True, False]


@pytest.mark.parametrize(
    ("rule", "a_segment"), [(GaussLobatto(3), 1), (GaussLobatto(4), 2), (GaussLobatto(5), 3), (FreeCubic(), 0)]
)
def test_the_evaluations_of_a_rule(rule, a_segment):
    """The scores of the path's own points are known."""
    calls = []

    def score(x: Tensor) -> Tensor:
        calls.append(x)
        return -x

    path = _path(Target(score), torch.ones(2, 3), 3)
    del calls[:]
    rule(path)
    assert len(calls) == 3 * a_segment


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_integral_is_in_float32_or_better(rule, dtype):
    value, trusted = rule(_path(Target(lambda x: -x), torch.ones(2, 3, 4, dtype=dtype), 3))
    assert value.dtype == torch.promote_types(dtype, torch.float32)
    assert value.shape == trusted.shape == (2,)
    assert trusted.dtype == torch.bool


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_inner_nodes_meet_the_targets_constraint(rule):
    known, seen = torch.tensor([True, False]), []

    def score(x: Tensor) -> Tensor:
        seen.append(x[:, 0])
        return torch.where(known, 0.0, -x)

    rule(_path(Target(score, project=lambda x: torch.where(known, 7.0, x)), torch.zeros(3, 2), 2))
    assert all((value == 7).all() for value in seen)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: GaussLobatto(2), r"num_nodes=2\): expected 3, 4 or 5; 2 is the trapezoid rule"),
        (lambda: GaussLobatto(6), r"num_nodes=6\): expected 3, 4 or 5"),
        (lambda: FreeCubic(0.0), r"guard=0.0\): expected 0 < guard < inf"),
        (lambda: FreeCubic(float("nan")), "guard=nan"),
        (lambda: FreeCubic(float("inf")), "guard=inf"),
    ],
)
def test_rules_that_are_none_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_a_path_too_short_for_the_free_cubic_is_refused():
    path = Langevin().propose(gauss3().at(0.0).point(torch.zeros(2, 3).double()), H, generator=PerChain(0)).path
    with pytest.raises(ValueError, match=r"a path of 1 segments: expected 2 at least.*num_leapfrog=2"):
        FreeCubic()(path)
    assert FreeCubic.min_segments == 2
    assert LineIntegral.min_segments == GaussLobatto.min_segments == 1
