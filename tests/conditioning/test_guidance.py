"""Guidance: an exact classifier of noisy data makes the class's own density of the whole one."""

import math

import pytest
import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit.conditioning import Guided, Inpaint
from scorekit.testing import check_target_family
from tests.conditioning.cases import SAMPLERS
from tests.laws.components import Moody
from tests.laws.statistics import ALPHA, normal_pvalue

MEANS, WEIGHTS, STDS = ((0.0, 1.0), (2.0, -1.0), (-1.5, -1.0)), (0.2, 0.5, 0.3), (0.5, 1.0, 0.8)
MIXTURE = sk.densities.GaussianMixture(MEANS, WEIGHTS, STDS)
COMPONENTS = [sk.densities.Gaussian(mean, std**2) for mean, std in zip(MEANS, STDS, strict=True)]


def classify(x: Tensor, sigma: Tensor) -> Tensor:
    """log w_k p_k(x | sigma): the exact logits at every level."""
    columns = [math.log(w) + one.log_prob(x, sigma) for w, one in zip(WEIGHTS, COMPONENTS, strict=True)]
    return torch.stack(columns, dim=1)


def states(count: int = 6) -> Tensor:
    return 3 * torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize("sigma", [0.0, 0.3, 4.0])
def test_guidance_by_an_exact_classifier_gives_the_component(label, sigma):
    x = states()
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            target = Guided(MIXTURE, classify, label).at(sigma)
            torch.testing.assert_close(target.score(x), COMPONENTS[label].score(x, sigma), rtol=0, atol=1e-10)
            gap = target.log_prob(x) - COMPONENTS[label].log_prob(x, sigma)
            torch.testing.assert_close(gap, gap[:1].expand(6), rtol=0, atol=1e-10)
    clean = Guided(MIXTURE, lambda x, s: classify(x, 0 * s), label).at(sigma).score(x)  # a classifier of clean data
    wrong = (clean - COMPONENTS[label].score(x, sigma)).abs().max()
    assert (wrong > 0.1) == (sigma > 0)


def test_samples_are_the_components(generator):
    """600 chains by Heun's method and HMC, from the moments of the whole."""
    sampler = sk.AnnealedMCMC(
        sk.MetropolisAdjusted(sk.Hamiltonian()), sk.Geometric(6.0, 0.1, 12), steps_per_level=3, transition=sk.Heun()
    )
    x = sk.sample(sampler, Guided(MIXTURE, classify, 0), (600, 2), generator=generator, dtype=torch.float64)

    def pvalue(label: int) -> float:
        mean, std = torch.tensor(MEANS[label], dtype=torch.float64), math.hypot(STDS[label], 0.1)
        return normal_pvalue((x - mean) / std)

    assert pvalue(0) > ALPHA
    assert pvalue(1) < ALPHA


def test_the_scale_is_the_power_of_the_likelihood():
    x = states()
    prior = MIXTURE.score(x, 0.5)
    one = COMPONENTS[1].score(x, 0.5) - prior
    for scale in (0.0, 2.5, -1.0):
        score = Guided(MIXTURE, classify, 1, scale).at(0.5).score(x)
        torch.testing.assert_close(score, prior + scale * one, rtol=0, atol=1e-10)


def test_it_is_a_lawful_family():
    check_target_family(Guided(MIXTURE, classify, 1, 2.0), event_shape=(2,))
    check_target_family(Guided(sk.ScoreOnly(MIXTURE), classify, 1), event_shape=(2,))
    known, y = torch.tensor([True, False]), torch.tensor([0.7, 0.0])
    check_target_family(Guided(Inpaint(MIXTURE, known, y), classify, 1), event_shape=(2,))
    assert Guided(sk.ScoreOnly(MIXTURE), classify, 1).at(1.0).log_prob is None


@pytest.mark.parametrize("name", ["annealed-langevin", "annealed-mala", "heun", "predictor-corrector"])
def test_each_chain_has_its_own_label_in_batches(name):
    def draw(label: Tensor | int, batch_size: int | None = None) -> Tensor:
        family, streams = Guided(MIXTURE, classify, label), sk.PerChain(1)
        return sk.sample(SAMPLERS[name], family, (4, 2), generator=streams, dtype=torch.float64, batch_size=batch_size)

    whole = draw(torch.tensor([0, 2, 1, 0]))
    torch.testing.assert_close(draw(torch.tensor([0, 2, 1, 0]), 3), whole, rtol=0, atol=1e-11)
    torch.testing.assert_close(draw(0)[[0, 3]], whole[[0, 3]], rtol=0, atol=1e-11)
    assert not torch.allclose(draw(0)[1:3], whole[1:3])


class Head(nn.Module):
    """Logits of a moody network."""

    def __init__(self):
        super().__init__()
        self.net = Moody()

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.net(x, sigma)


def test_a_module_classifies_in_evaluation_mode_and_gets_its_modes_back():
    head = Head().double()
    before = [module.training for module in head.modules()]
    assert any(before)
    sk.sample(sk.heun(sk.Geometric(2, 0.5, 3)), Guided(MIXTURE, head, 0), (4, 2), dtype=torch.float64)
    assert head.net.modes
    assert not any(map(any, head.net.modes))
    assert [module.training for module in head.modules()] == before


def test_the_shipped_classifier_guides_images():
    net = sk.networks.ConvClassifier((1, 8, 8), 3, width=4)
    family = Guided(sk.from_score(lambda x, sigma: -x / (1 + sigma**2), moments=(0.0, 1.0)), net, 2, 3.0)
    x = sk.sample(sk.heun(sk.Geometric(2, 0.5, 3)), family, (4, 1, 8, 8))
    assert x.shape == (4, 1, 8, 8)
    assert x.isfinite().all()
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((classify, classify, 1), TypeError, "family=.*expected TargetFamily"),
        ((MIXTURE, "classify", 1), TypeError, "classifier='classify'.*expected a callable"),
        ((MIXTURE, classify, 1.0), TypeError, "label=1.0.*expected an integer"),
        ((MIXTURE, classify, True), TypeError, "label=True"),
        ((MIXTURE, classify, -1), ValueError, "label=-1.*expected a label >= 0"),
        ((MIXTURE, classify, torch.zeros(2, 2, dtype=torch.int64)), ValueError, r"or \(B,\) of them"),
        ((MIXTURE, classify, 1, math.nan), ValueError, "scale=nan"),
    ],
)
def test_bad_parts_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        Guided(*arguments)


def test_labels_and_logits_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"the label of shape \(3,\) for 4 chains"):
        sk.sample(SAMPLERS["heun"], Guided(MIXTURE, classify, torch.tensor([0, 1, 2])), (4, 2))
    with pytest.raises(ValueError, match="the label 3: the classifier knows 3 classes"):
        Guided(MIXTURE, classify, 3).at(1.0).score(states())
    with pytest.raises(ValueError, match=r"\(6, 2\) to \(6,\): expected logits"):
        Guided(MIXTURE, lambda x, sigma: x.sum(1), 1).at(1.0).score(states())


def test_its_repr_is_short():
    assert repr(Guided(MIXTURE, classify, 1)) == "Guided(GaussianMixture, function, 1, scale=1)"
    assert repr(Guided(MIXTURE, Head(), torch.ones(2).long())) == "Guided(GaussianMixture, Head, 2 labels, scale=1)"
