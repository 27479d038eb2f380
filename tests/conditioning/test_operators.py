"""Linear operators: against the dense matrices that they are."""

import math

import pytest
import torch
from torch import Tensor

from scorekit.conditioning import Blur, Downsample, Grayscale, Identity, LinearOperator, Mask, Matrix
from tests.conditioning.operators import BLUR, OPERATORS, dense

each_operator = pytest.mark.parametrize("name", OPERATORS)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@each_operator
def test_the_adjoint_is_the_transpose(name):
    operator, event = OPERATORS[name]
    a = dense(operator, event)
    x, y = random(4, *event), random(4, len(a), seed=1)
    measured = operator.forward(x)
    torch.testing.assert_close(measured.flatten(1), x.flatten(1) @ a.T, rtol=0, atol=1e-12)
    back = operator.adjoint(y.reshape(measured.shape))
    torch.testing.assert_close(back.flatten(1), y @ a, rtol=0, atol=1e-12)


@each_operator
@pytest.mark.parametrize(("a", "b"), [(0.09, 4.0), (1.0, 0.0), (0.5, 0.25)])
def test_solving_is_multiplying_by_the_inverse_as_far_as_the_adjoint_sees(name, a, b):
    operator, event = OPERATORS[name]
    matrix = dense(operator, event)
    y = random(4, len(matrix), seed=1)
    shape = operator.forward(random(4, *event)).shape
    gram = a * torch.eye(len(matrix), dtype=torch.float64) + b * matrix @ matrix.T
    solved = operator.solve(y.reshape(shape), a, b)
    expected = torch.linalg.solve(gram, y.T).T @ matrix
    torch.testing.assert_close(operator.adjoint(solved).flatten(1), expected, rtol=0, atol=1e-11)
    wrong = torch.linalg.solve(gram + 0.1 * matrix @ matrix.T, y.T).T @ matrix  # another smoothing: the mutant
    assert (operator.adjoint(solved).flatten(1) - wrong).abs().max() > 1e-3


@each_operator
def test_without_noise_it_is_the_pseudo_inverse(name):
    operator, event = OPERATORS[name]
    matrix = dense(operator, event)
    y = random(4, len(matrix), seed=1)
    solved = operator.solve(y.reshape(operator.forward(random(4, *event)).shape), 0.0, 2.0)
    assert solved.isfinite().all()
    expected = y @ torch.linalg.pinv(2 * matrix @ matrix.T, hermitian=True, rtol=1e-12)
    torch.testing.assert_close(solved.flatten(1), expected, rtol=0, atol=1e-8)


@each_operator
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)])
def test_it_works_in_the_type_of_its_argument(name, dtype, bound):
    operator, event = OPERATORS[name]
    x = random(4, *event)
    y = operator.forward(x)
    exact = y, operator.adjoint(y), operator.solve(y, 0.5, 1.0)
    mine = operator.forward(x.to(dtype)), operator.adjoint(y.to(dtype)), operator.solve(y.to(dtype), 0.5, 1.0)
    for value, wanted in zip(mine, exact, strict=True):
        assert value.dtype == dtype
        torch.testing.assert_close(value.double(), wanted, rtol=bound, atol=bound)


def test_blurring_is_circular_convolution_with_the_middle_in_place():
    kernel = torch.zeros(3, 3, dtype=torch.float64)
    kernel[0, 1], kernel[1, 1] = 0.25, 0.75  # 3/4 of each pixel, 1/4 of the one below (convolution turns the kernel)
    x = random(1, 1, 3, 5)
    torch.testing.assert_close(Blur(kernel).forward(x), 0.75 * x + 0.25 * x.roll(-1, -2))
    delta = torch.zeros(3, 3, dtype=torch.float64)
    delta[1, 1] = 1
    torch.testing.assert_close(Blur(delta).forward(x), x)


def test_the_others_are_what_they_say():
    x = random(2, 3, 4, 6)
    torch.testing.assert_close(Downsample(2).forward(x), torch.nn.functional.avg_pool2d(x, 2))
    grey = Grayscale().forward(x)
    assert grey.shape == (2, 1, 4, 6)
    torch.testing.assert_close(grey[:, 0], 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])
    assert torch.equal(Identity().forward(x), x)


def test_reprs_are_short():
    shown = [repr(operator) for operator, _ in OPERATORS.values()]
    assert shown == [
        "Identity()", "Mask(50% of (1, 4, 4))", "Grayscale((0.299, 0.587, 0.114))", "Downsample(2)", "Blur((3, 3))",
        "Matrix(5, 16)", "Matrix(20, 16)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Mask([1, 0]), TypeError, "expected Tensor"),
        (lambda: Mask(torch.tensor([2, 0])), ValueError, "the mask has the value 2"),
        (lambda: Grayscale((0.0, 0.0)), ValueError, "not all of them 0"),
        (lambda: Grayscale((math.nan,)), ValueError, "finite numbers"),
        (lambda: Downsample(0), ValueError, r"factor=0\): expected an integer >= 1"),
        (lambda: Downsample(2.0), ValueError, r"factor=2.0"),
        (lambda: Blur(torch.ones(2, 3)), ValueError, r"shape \(2, 3\): expected \(h, w\), both odd"),
        (lambda: Blur(torch.ones(3)), ValueError, r"shape \(3,\)"),
        (lambda: Blur(torch.zeros(3, 3)), ValueError, "not all 0"),
        (lambda: Matrix(torch.ones(3)), ValueError, r"shape \(3,\) .*expected \(M, D\)"),
        (lambda: Matrix(torch.ones(3, 2, dtype=torch.int64)), ValueError, "floating-point"),
        (lambda: Matrix(torch.full((2, 2), torch.nan)), ValueError, "finite"),
    ],
)
def test_bad_parameters_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize(
    ("operator", "event", "text"),
    [
        (Mask(torch.ones(3)), (4,), r"expected events of shape \(3,\)"),
        (Grayscale(), (1, 4, 4), r"expected \(B, 3, \*S\)"),
        (Downsample(3), (1, 4, 6), r"expected \(B, ..., H, W\), multiples of 3"),
        (Blur(BLUR), (1, 2, 5), "no smaller than the kernel"),
        (Matrix(torch.ones(2, 5)), (2, 2), "expected events of 5 numbers"),
    ],
)
def test_events_that_do_not_fit_are_refused(operator: LinearOperator, event, text):
    with pytest.raises(ValueError, match=text):
        operator.forward(torch.zeros(2, *event))
