"""Models that are told their condition: one for all chains, or each its own."""

import pytest
import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit.base import Generator, Target, TargetFamily, WrappedFamily, expand
from scorekit.conditioning import Inpaint
from scorekit.diagnostics import RecordRun
from scorekit.distributed import sample_on_processes
from scorekit.testing import check_target_family
from scorekit.training.runtime import PlainRuntime
from tests.conditioning.cases import NOISE, SAMPLERS, drawn
from tests.laws.components import Moody

LABELS = torch.tensor([0, 2, 1, 2, 0])
VECTORS = torch.linspace(-1, 2, 10, dtype=torch.float64).reshape(5, 2)


class Centre(nn.Module):
    """f(x, sigma, condition) = the mean of the condition less x: a label's row, or (a, b) -> (a, b, a)."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]], dtype=torch.float64))
        self.register_buffer("noise_levels", NOISE.levels())

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        if condition.is_floating_point():
            assert condition.shape == (len(x), 2)
            mean = condition[:, [0, 1, 0]].to(x)
        else:
            assert condition.shape == (len(x),)
            mean = self.table[condition]
        return (mean - x) / expand(1 + sigma**2, x)


class Energy(nn.Module):
    def __init__(self):
        super().__init__()
        self.centre = Centre()

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        return self.centre(x, sigma, condition).square().sum(1) * (1 + sigma**2) / 2


def model() -> sk.DirectScore:
    made = sk.DirectScore(Centre())
    made.set_moments(torch.ones(3), torch.ones(3))
    return made


def energy() -> sk.EnergyModel:
    made = sk.EnergyModel(Energy())
    made.set_moments(torch.ones(3), torch.ones(3))
    return made


def mean_of(condition: Tensor) -> Tensor:
    return condition[..., [0, 1, 0]] if condition.is_floating_point() else 3 * torch.eye(3).double()[condition]


CONDITIONS = {
    "label": torch.tensor(2), "labels": LABELS, "vector": VECTORS[3], "vectors": VECTORS, "int32": LABELS.int(),
}  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_the_score_is_the_models_under_the_condition(condition):
    x = torch.randn(5, 3, dtype=torch.float64)
    away = mean_of(condition if condition.is_floating_point() else condition.long()) - x
    for family in (model().given(condition), energy().given(condition), sk.RoundToLevels(model()).given(condition)):
        torch.testing.assert_close(family.at(2.0, like=x).score(x), away / 5, rtol=0, atol=1e-12)
    assert model().given(condition).at(2.0).log_prob is None
    target = energy().given(condition).at(2.0)
    torch.testing.assert_close(target.log_prob(x), -away.square().sum(1) / 10, rtol=0, atol=1e-12)
    value, score = target.value_and_score(x)
    assert torch.equal(value, target.log_prob(x))
    assert torch.equal(score, target.score(x))


def test_everything_else_is_the_models():
    made = model()
    family = made.given(1)
    assert family.family is made
    assert family.moments is not None
    assert torch.equal(family.moments[0], made.moments[0])
    assert torch.equal(family.noise_levels, NOISE.levels())
    assert (family.min_sigma, family.inference_mode, family.dtype) == (0.0, True, torch.float64)
    assert not energy().given(1).inference_mode
    assert family.title == "DirectScore"
    moody = sk.DirectScore(Moody())
    with moody.given(1).evaluating():
        assert not any(module.training for module in moody.modules())
    check_target_family(family, event_shape=(3,), levels=NOISE.levels().tolist())
    check_target_family(energy().given(VECTORS[0]), event_shape=(3,))
    assert repr(family) == "DirectScore.given(1)"
    assert repr(made.given(VECTORS)) == "DirectScore.given(condition (5, 2))"


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_every_sampler_takes_it_and_each_chain_has_its_own(sampler):
    for made, condition in ((model(), LABELS), (energy(), VECTORS)):
        whole = drawn(sampler, made.given(condition))
        torch.testing.assert_close(drawn(sampler, made.given(condition), 2), whole, rtol=0, atol=1e-11)
        alike = drawn(sampler, made.given(condition[1]))  # for all of them what the second one has
        torch.testing.assert_close(alike[1], whole[1], rtol=0, atol=1e-11)
        assert not torch.allclose(alike, whole)


def test_batches_are_bit_equal_where_sums_are():
    """Elementwise scores have one order of summation whatever the batch."""
    sampler = sk.annealed_langevin(NOISE, steps_per_level=3)
    mask, y = torch.tensor([[1, 0, 0], [0, 0, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]]), torch.randn(5, 3)
    for family in (model().given(LABELS), model().given(VECTORS), Inpaint(model().given(LABELS), mask, y)):
        whole = drawn(sampler, family)
        for size in (1, 2, 3, 4, 5, 50):
            assert torch.equal(drawn(sampler, family, size), whole)
        runtime = PlainRuntime("cpu")
        spread = sample_on_processes(runtime, sampler, family, (5, 3), generator=sk.PerChain(3), batch_size=2)
        assert torch.equal(spread, whole)


class Uncut(WrappedFamily):
    """A wrapper that says nothing of rows."""

    def __init__(self, family: TargetFamily):
        self._family = family

    @property
    def family(self) -> TargetFamily:
        return self._family

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        return self._family.at(sigma, like=like, generator=generator)


def test_a_wrapper_that_cannot_be_cut_refuses_to_be():
    sampler = SAMPLERS["heun"]
    whole = drawn(sampler, Uncut(model().given(LABELS)))
    assert torch.equal(whole, drawn(sampler, model().given(LABELS)))
    with pytest.raises(TypeError, match=r"Uncut around DirectScore.given\(condition \(5,\)\).*does not define `rows`"):
        drawn(sampler, Uncut(model().given(LABELS)), 2)
    drawn(sampler, Uncut(model().given(LABELS[0])), 2)  # nothing to cut


def test_a_recorded_run_goes_on_over_the_rows():
    sampler = sk.annealed_langevin(NOISE, steps_per_level=2)
    record = RecordRun(model().given(LABELS), chains=2)
    x = drawn(sampler, record, 2)
    torch.testing.assert_close(x, drawn(sampler, model().given(LABELS)), rtol=0, atol=1e-12)
    assert record.evaluations == 6
    assert record.states.shape == (6, 2, 3)
    assert record.rows(0, 5, (5, 3)) is record


@pytest.mark.parametrize(
    ("condition", "shape"),
    [(LABELS[:4], r"\(4,\)"), (LABELS[:1], r"\(1,\)"), (VECTORS[:4], r"\(4, 2\)"), (VECTORS[:1], r"\(1, 2\)")],
)
def test_conditions_for_other_chains_are_refused_at_the_start(condition, shape):
    sampler, draws = SAMPLERS["annealed-langevin"], torch.Generator().manual_seed(0)
    before = draws.get_state()
    with pytest.raises(ValueError, match=f"a condition of shape {shape} for 5 chains: expected .* each chain its own"):
        sk.sample(sampler, model().given(condition), (5, 3), generator=draws)
    assert torch.equal(draws.get_state(), before)
    with pytest.raises(ValueError, match=f"a condition of shape {shape} for 5 chains"):
        next(sampler.steps(model().given(condition), torch.zeros(5, 3)))
    with pytest.raises(ValueError, match=f"a condition of shape {shape} for 5 chains"):
        sample_on_processes(
            PlainRuntime("cpu"), sampler, model().given(condition), (5, 3), generator=sk.PerChain(0), batch_size=2
        )


@pytest.mark.parametrize(
    ("condition", "error", "text"),
    [
        (True, TypeError, r"given\(tensor\(True\)\): expected labels of an integer type or"),
        (torch.tensor([1j]), TypeError, "expected labels of an integer type or"),
        (LABELS.reshape(5, 1), ValueError, r"int64 and shape \(5, 1\): expected a label \(\) or labels \(B,\)"),
        (torch.tensor(0.5), ValueError, r"float32 and shape \(\): expected .* a vector \(D,\) or vectors"),
        (torch.zeros(2, 2, 2), ValueError, r"shape \(2, 2, 2\)"),
    ],
)
def test_what_is_no_condition_is_refused(condition, error, text):
    with pytest.raises(error, match=text):
        model().given(condition)


def test_networks_of_the_package_are_told_their_condition():
    net = sk.networks.MLP((3,), num_classes=4)
    x = torch.randn(5, 3)
    family = sk.ScaledScore(net).given(LABELS)
    with family.evaluating(), torch.no_grad():
        score = family.at(0.5, like=x).score(x)
        alone = torch.stack(
            [sk.ScaledScore(net).given(label).at(0.5).score(row[None])[0] for label, row in zip(LABELS, x, strict=True)]
        )
    torch.testing.assert_close(score, alone)
    with pytest.raises(TypeError, match="without a condition"):
        sk.ScaledScore(net).at(0.5).score(x)
