"""Products and powers of densities: closed forms of Gaussians."""

import pytest
import torch

import scorekit as sk
from scorekit.base import TargetFamily
from scorekit.conditioning import Inpaint, LinearGaussian, Posterior, Product, Tempered
from scorekit.testing import check_target_family
from scorekit.testing.targets import covariance_of, gauss3
from tests.conditioning.cases import NOISE, SAMPLERS, Y, drawn
from tests.laws.drivers import law_pvalue
from tests.laws.statistics import ALPHA

OTHER = sk.densities.Gaussian((-1.0, 0.0, 2.0), ((2.0, 0.3, 0.0), (0.3, 0.5, -0.2), (0.0, -0.2, 1.0)))
FIRST = torch.tensor([True, False, False])


def product_law(*densities: sk.densities.Gaussian, sigma: float) -> sk.densities.Gaussian:
    """The normalised product of the noisy Gaussians."""
    one = torch.eye(3, dtype=torch.float64)
    precisions = [torch.linalg.inv(covariance_of(each) + sigma**2 * one) for each in densities]
    covariance = torch.linalg.inv(torch.stack(precisions).sum(0))
    mean = sum(p @ torch.tensor(each.mean, dtype=torch.float64) for p, each in zip(precisions, densities, strict=True))
    return sk.densities.Gaussian((covariance @ mean).tolist(), ((covariance + covariance.T) / 2).tolist())


def same_density(family: TargetFamily, law: sk.densities.Gaussian, sigma: float) -> bool:
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = family.at(sigma)
    gap = target.log_prob(x) - law.log_prob(x)
    return torch.allclose(target.score(x), law.score(x), rtol=0, atol=1e-10) and torch.allclose(gap, gap[:1])


@pytest.mark.parametrize("sigma", [0.0, 0.5, 3.0])
def test_a_product_of_gaussians_is_the_gaussian_of_added_precisions(sigma):
    law = product_law(gauss3(), OTHER, OTHER, sigma=sigma)
    assert same_density(Product(gauss3(), OTHER, OTHER), law, sigma)
    assert not same_density(Product(gauss3(), OTHER), law, sigma)
    assert not same_density(Product(gauss3(), OTHER, OTHER), law, sigma + 0.1)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_a_tempered_gaussian_has_its_covariance_times_the_temperature(temperature, sigma):
    covariance = covariance_of(gauss3()) + sigma**2 * torch.eye(3, dtype=torch.float64)
    law = sk.densities.Gaussian(gauss3().mean, (temperature * covariance).tolist())
    assert same_density(Tempered(gauss3(), temperature), law, sigma)
    assert same_density(Tempered(gauss3(), 1 / temperature), law, sigma) == (temperature == 1)
    energy = sk.from_log_prob(lambda x, s: gauss3().log_prob(x, s))
    assert same_density(Tempered(energy, temperature), law, sigma)


@pytest.mark.parametrize(
    ("family", "law"),
    [
        (Product(gauss3(), OTHER), product_law(gauss3(), OTHER, sigma=0.2)),
        (Tempered(gauss3(), 0.5), product_law(gauss3(), gauss3(), sigma=0.2)),
    ],
    ids=["product", "tempered"],
)
def test_samples_have_the_law(family, law, generator):
    """2,000 chains; the first factor alone is found out."""
    sampler = sk.annealed_hmc(sk.Geometric(2.0, 0.2, 6), step_size=0.05, steps_per_level=15)
    x = sk.sample(sampler, family, (2000, 3), generator=generator, dtype=torch.float64)
    mean, noisy = torch.tensor(gauss3().mean, dtype=torch.float64), covariance_of(gauss3()) + 0.04 * torch.eye(3)
    assert law_pvalue(x, torch.tensor(law.mean, dtype=torch.float64), covariance_of(law)) > ALPHA
    assert law_pvalue(x, mean, noisy) < ALPHA


def test_they_are_lawful_families():
    energy = sk.from_log_prob(lambda x, sigma: gauss3().log_prob(x, sigma))
    problem = Inpaint(gauss3(), FIRST, Y)
    for family in (
        Product(gauss3(), OTHER), Product(energy, OTHER), Product(sk.ScoreOnly(OTHER), energy), Product(problem, OTHER),
        Product(OTHER, problem), Tempered(problem, 2.0), Tempered(sk.ScoreOnly(OTHER), 2.0),
    ):  # fmt: skip
        check_target_family(family, event_shape=(3,))


def test_a_constraint_of_one_expert_holds_for_the_product():
    """Either way round, and as around the product: the other experts do not move what is known."""
    inside = [Product(Inpaint(gauss3(), FIRST, Y), OTHER), Product(OTHER, Inpaint(gauss3(), FIRST, Y))]
    outside = Inpaint(Product(gauss3(), OTHER), FIRST, Y)
    x = torch.randn(4, 3, dtype=torch.float64)
    wanted = outside.at(0.0, like=x).point(x)
    assert (OTHER.score(wanted.x)[:, 0] != 0).all()
    for family in inside:
        found = family.at(0.0, like=x).point(x)
        assert torch.equal(found.x, wanted.x)
        assert (found.score[:, 0] == 0).all()
        torch.testing.assert_close(found.score, wanted.score, rtol=0, atol=1e-12)
        assert (drawn(SAMPLERS["annealed-mala"], family)[:, 0] == Y[0]).all()


def test_levels_are_those_that_are_common():
    def table(*levels: float) -> sk.ScoreModel:
        return sk.DirectScore(torch.nn.Linear(3, 3), sk.Levels(levels))

    assert Product(gauss3(), OTHER).noise_levels is None
    assert Product(table(2.0, 1.0, 0.1), OTHER, table(1.00001, 0.5, 0.1)).noise_levels.tolist() == [1.0, 0.1]
    with pytest.raises(ValueError, match=r"Product\(DirectScore, DirectScore\): no noise level is common"):
        Product(table(2.0, 1.0), table(0.5))
    scaled = sk.ScaledScore(torch.nn.Linear(3, 3), min_sigma=0.5)
    assert Product(OTHER, scaled).min_sigma == 0.5
    with pytest.raises(ValueError, match=r"below the smallest level 0\.5 at which Product is valid"):
        drawn(SAMPLERS["heun"], Product(OTHER, scaled))


def test_what_the_parts_say_of_themselves():
    family = Product(OTHER, Inpaint(gauss3(), FIRST, Y, refresh="step"), sk.from_score(lambda x, sigma: -x))
    assert family.moments is not None
    assert torch.equal(family.moments[0], OTHER.moments[0])
    assert family.refresh == "step"
    assert not family.inference_mode
    assert Product(OTHER, OTHER).inference_mode
    assert Product(OTHER, OTHER).refresh == "level"
    model = sk.DirectScore(torch.nn.Linear(3, 3).double())
    both = Product(OTHER, model)
    assert (both.dtype, both.device) == (torch.float64, torch.device("cpu"))
    with both.evaluating():
        assert not model.training
    assert model.training
    assert repr(Tempered(family, 0.5)) == "Tempered(Product, 0.5)"
    assert repr(both) == "Product(Gaussian, DirectScore)"


def test_each_expert_draws_from_a_stream_of_its_own():
    one = Inpaint(gauss3(), FIRST, Y)
    two = Inpaint(OTHER, ~FIRST, Y)
    x = torch.zeros(4, 3, dtype=torch.float64)
    pasted = Product(one, two).at(1.0, like=x, generator=sk.PerChain(0)).project(x)
    alone = Inpaint(gauss3(), torch.ones(3), Y).at(1.0, like=x, generator=sk.PerChain(0)).project(x)
    assert len(pasted.unique()) == 12
    assert not torch.equal(pasted, alone)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_rows_go_through(batch_size):
    y = torch.randn(5, 3, dtype=torch.float64)
    mine = Inpaint(gauss3(), FIRST, y)
    measured = Posterior(OTHER, LinearGaussian(torch.ones(1, 3), y[:, :1], 0.5))
    sampler = sk.annealed_mala(NOISE, steps_per_level=2)
    for family in (
        Product(OTHER, mine),
        Tempered(mine, 2.0),
        sk.ScoreOnly(mine),
        Tempered(Product(mine, measured), 3.0),
    ):
        torch.testing.assert_close(drawn(sampler, family, batch_size), drawn(sampler, family), rtol=0, atol=1e-11)
        assert family.rows(0, 5, (5, 3)) is family
        assert family.rows(1, 2, (5, 3)) is not family
    plain = Tempered(Product(OTHER, gauss3()), 2.0)
    assert plain.rows(1, 2, (5, 3)) is plain


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Product(OTHER), ValueError, "Product of 1 families: expected two or more"),
        (lambda: Product(OTHER, OTHER.at(1.0)), TypeError, "expected TargetFamily, got Target"),
        (lambda: Tempered(OTHER.at(1.0), 1.0), TypeError, "expected TargetFamily, got Target"),
        (lambda: Tempered(OTHER, 0.0), ValueError, r"temperature=0.0\): expected 0 <"),
        (lambda: Tempered(OTHER, float("inf")), ValueError, "temperature=inf"),
    ],
)
def test_bad_parts_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()
