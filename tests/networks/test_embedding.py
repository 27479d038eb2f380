"""What networks are told besides x: golden values, the law of the features, and the conditions that are refused."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from scorekit.networks.embedding import ConditionEmbedding, FourierFeatures, embed_condition, make_condition_embedding

# ---------------------------------------------------------------------------------------------------- Fourier features

# sigma, then sin and cos of 2 pi w log max(sigma, 1e-5) for w = .1 and -.25, by Python's own functions
GOLDEN = [
    (1.0, (0.0, 0.0, 1.0, 1.0)),
    (math.e, (0.5877852523, -1.0, 0.8090169944, 0.0)),
    (50.0, (0.6315851867, 0.1377544984, -0.7753064891, 0.9904664044)),
    (0.01, (-0.2455421152, 0.8137638482, -0.9693859240, 0.5811956636)),
    (1e-5, (-0.8137638482, -0.6926054478, 0.5811956636, 0.7213166390)),
    (0.0, (-0.8137638482, -0.6926054478, 0.5811956636, 0.7213166390)),
]


def fixed() -> FourierFeatures:
    features = FourierFeatures(2)
    features.frequencies.copy_(torch.tensor([0.1, -0.25]))
    return features


def check_golden(features: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float64, atol: float = 1e-6) -> None:
    sigma = torch.tensor([sigma for sigma, _ in GOLDEN], dtype=dtype)
    expected = torch.tensor([row for _, row in GOLDEN], dtype=dtype)
    torch.testing.assert_close(features(sigma), expected, rtol=0, atol=atol)


def mutant(log: Callable[[Tensor], Tensor], turn: float = 2 * math.pi) -> Callable[[Tensor], Tensor]:
    def features(sigma: Tensor) -> Tensor:
        angle = log(sigma).unsqueeze(1) * turn * torch.tensor([0.1, -0.25], dtype=sigma.dtype)
        return torch.cat((angle.sin(), angle.cos()), 1)

    return features


def test_golden_features():
    check_golden(fixed())
    check_golden(fixed(), torch.float32, 1e-5)
    check_golden(mutant(lambda sigma: sigma.clamp(min=1e-5).log()))


@pytest.mark.parametrize(
    "broken",
    [
        mutant(torch.log),
        mutant(lambda sigma: sigma.clamp(min=1e-5).log10()),
        mutant(lambda sigma: (sigma.square() + 1e-6).log() / 2),
        mutant(lambda sigma: sigma.clamp(min=1e-5).log(), turn=1.0),
    ],
    ids=["no smallest level", "another logarithm", "the logarithm of the MLP", "without 2 pi"],
)
def test_golden_features_reject(broken):
    with pytest.raises(AssertionError):
        check_golden(broken)


def check_kernel(features: Callable[[Tensor], Tensor], scale: float, count: int) -> None:
    """The mean of cos(2 pi w d), w ~ N(0, scale^2), is exp(-2 (pi scale d)^2); its standard error is below
    1 / sqrt(count)."""
    distances = torch.tensor([0.0, 0.3, 0.5, 1.0, 2.0], dtype=torch.float64) / (math.pi * scale)
    at = features(distances.exp())
    found = at @ at[0] / count
    torch.testing.assert_close(
        found, torch.exp(-2 * (math.pi * scale * distances).square()), rtol=0, atol=4.9 / math.sqrt(count)
    )


@pytest.mark.parametrize("scale", [1.0, 16.0])
def test_features_of_near_levels_are_alike_by_the_law_of_the_frequencies(scale):
    check_kernel(FourierFeatures(4000, scale), scale, 4000)
    with pytest.raises(AssertionError):
        check_kernel(FourierFeatures(4000, 1.5 * scale), scale, 4000)


def test_frequencies_keep_their_type_wherever_the_module_goes():
    """In bfloat16 a frequency of 40 is off by .1, and the angle at sigma = .01 by 3."""
    features = FourierFeatures(16)
    before, sigma = features.frequencies.clone(), torch.tensor([0.01, 3.0])
    expected = features(sigma)
    for move in (nn.Module.half, nn.Module.bfloat16, nn.Module.double, nn.Module.float):
        moved = move(nn.Sequential(features))[0]
        assert moved.frequencies.dtype == torch.float32
        assert torch.equal(moved.frequencies, before)
    assert torch.equal(features(sigma), expected)
    assert features.to("meta").frequencies.device.type == "meta"
    plain = nn.Module()  # what would become of them otherwise
    plain.register_buffer("frequencies", before.clone())
    features = FourierFeatures(16)
    features.frequencies.copy_(plain.bfloat16().frequencies)
    assert (features(sigma) - expected).abs().max() > 0.1


def test_features_come_in_float32_at_least():
    assert FourierFeatures(3)(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert FourierFeatures(3)(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    assert FourierFeatures(3)(torch.ones(2)).shape == (2, 6)


def test_bad_features_are_refused():
    for bad in ({"num_frequencies": 0}, {"scale": 0.0}, {"scale": math.inf}, {"scale": -1.0}):
        with pytest.raises(ValueError, match=r"expected num_frequencies >= 1 and 0 < scale < inf"):
            FourierFeatures(**{"num_frequencies": 4, **bad})


# ---------------------------------------------------------------------------------------------------------- conditions

X = torch.zeros(4, 3)
LABELS = torch.tensor([2, 0, 2, 1])


def test_a_label_has_a_row_and_a_vector_is_mapped_linearly():
    labels, vectors = ConditionEmbedding("Net", 5, num_classes=3), ConditionEmbedding("Net", 5, condition_dim=3)
    assert torch.equal(labels(LABELS, X), labels.map.weight[LABELS])
    condition = torch.randn(4, 3)
    expected = condition @ vectors.map.weight.mT + vectors.map.bias
    torch.testing.assert_close(vectors(condition, X), expected)
    torch.testing.assert_close(vectors(condition.double(), X), expected)  # x decides the type
    one_hot = nn.functional.one_hot(LABELS, 3).float()
    vectors.map.weight.data, vectors.map.bias.data = labels.map.weight.detach().mT, torch.zeros(5)
    torch.testing.assert_close(vectors(one_hot, X), labels(LABELS, X))


@pytest.mark.parametrize(
    ("made", "condition", "error", "match"),
    [
        (
            {"num_classes": 3},
            LABELS + 1,
            ValueError,
            r"Net: a condition of labels from 1 to 3: expected labels .* 0 to 2",
        ),
        ({"num_classes": 3}, LABELS - 1, ValueError, r"Net: a condition of labels from -1 to 1: expected"),
        ({"num_classes": 3}, LABELS.int(), TypeError, r"torch.int32: expected labels \(B,\) of type int64"),
        ({"num_classes": 3}, LABELS > 1, TypeError, r"torch.bool: expected labels"),
        ({"num_classes": 3}, LABELS.float(), TypeError, r"torch.float32: expected labels"),
        ({"num_classes": 3}, LABELS[:3], ValueError, r"shape \(3,\) for B = 4: expected labels \(B,\)"),
        ({"num_classes": 3}, LABELS[:, None], ValueError, r"shape \(4, 1\) for B = 4"),
        ({"num_classes": 3}, LABELS[0], ValueError, r"shape \(\) for B = 4"),
        ({"condition_dim": 2}, LABELS, TypeError, r"torch.int64: expected vectors \(B, 2\) of a floating-point type"),
        ({"condition_dim": 2}, torch.zeros(4, 3), ValueError, r"shape \(4, 3\) for B = 4: expected vectors \(B, 2\)"),
        ({"condition_dim": 2}, torch.zeros(2), ValueError, r"shape \(2,\) for B = 4: expected vectors"),
        ({"condition_dim": 2}, torch.zeros(3, 2), ValueError, r"shape \(3, 2\) for B = 4: expected vectors"),
    ],
)
def test_other_conditions_are_refused(made, condition, error, match):
    with pytest.raises(error, match=match):
        ConditionEmbedding("Net", 5, **made)(condition, X)


@pytest.mark.parametrize("sizes", [(3, 3), (0, None), (None, 0), (None, None), (-1, None)])
def test_exactly_one_kind_of_condition(sizes):
    with pytest.raises(ValueError, match=r"Net\(num_classes=.*exactly one of them is given, and it is >= 1"):
        ConditionEmbedding("Net", 5, *sizes)


def test_a_network_and_its_calls_agree_on_whether_there_is_a_condition():
    assert make_condition_embedding("Net", 5, None, None) is None
    assert embed_condition("Net", None, None, X) is None
    with pytest.raises(TypeError, match=r"Net takes no condition: .* made without num_classes and condition_dim"):
        embed_condition("Net", None, LABELS, X)
    made = make_condition_embedding("Net", 5, 3, None)
    with pytest.raises(TypeError, match=r"Net was called without a condition: expected labels \(B,\).*num_classes=3"):
        embed_condition("Net", made, None, X)
    assert torch.equal(embed_condition("Net", made, LABELS, X), made(LABELS, X))


def test_labels_are_checked_where_it_costs_nothing():
    """No value is read unless the table has refused: inside vmap, reading one is an error."""
    made = ConditionEmbedding("Net", 5, num_classes=3)
    by_row = torch.func.vmap(lambda label: made(label.unsqueeze(0), X[:1])[0])(LABELS)
    assert torch.equal(by_row, made(LABELS, X))
    on_meta = ConditionEmbedding("Net", 5, num_classes=3).to("meta")
    assert on_meta(LABELS.to("meta"), X.to("meta")).shape == (4, 5)  # nothing there to read
