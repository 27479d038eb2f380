import pytest
import torch
from torch import Tensor

from scorekit.base import Point, Target


class Counted:
    """score and log_prob of exp(-|x|^2 / 2), and how often each was called."""

    def __init__(self):
        self.calls: list[str] = []

    def score(self, x: Tensor) -> Tensor:
        self.calls.append("score")
        return -x

    def log_prob(self, x: Tensor) -> Tensor:
        self.calls.append("log_prob")
        return -x.square().sum(1) / 2

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.append("both")
        return -x.square().sum(1) / 2, -x


X = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_a_point_evaluates_nothing_until_asked_and_each_value_once():
    counted = Counted()
    point = Target(counted.score, counted.log_prob).point(X)
    assert counted.calls == []
    for _ in range(3):
        assert torch.equal(point.score, -X)
        assert torch.equal(point.log_prob, torch.tensor([-2.5, -12.5]))
    assert counted.calls == ["score", "log_prob"]


@pytest.mark.parametrize("order", [("score", "log_prob"), ("log_prob", "score")])
def test_a_point_takes_both_from_one_call_where_the_target_offers_it(order):
    counted = Counted()
    point = Target(counted.score, counted.log_prob, counted.both).point(X)
    values = {name: getattr(point, name) for name in order}
    assert counted.calls == ["both"]
    assert torch.equal(values["score"], -X)
    assert torch.equal(values["log_prob"], torch.tensor([-2.5, -12.5]))


@pytest.mark.parametrize(("known", "call"), [("score", "log_prob"), ("log_prob", "score")])
def test_a_point_evaluates_only_what_it_was_not_given(known, call):
    counted = Counted()
    given = {"score": torch.ones(2, 2), "log_prob": torch.ones(2)}[known]
    point = Point(Target(counted.score, counted.log_prob, counted.both), X, **{known: given})
    assert getattr(point, known) is given
    getattr(point, call)
    assert counted.calls == [call]


def test_a_target_of_a_score_only_says_what_it_lacks():
    counted = Counted()
    with pytest.raises(TypeError, match=r"score only, not log_prob.*line integral"):
        Target(counted.score).point(X).log_prob  # noqa: B018


def test_a_target_projects_and_a_point_does_not():
    target = Target(Counted().score, project=lambda x: x.clamp(max=2.0))
    assert torch.equal(target.point(X).x, X.clamp(max=2.0))
    assert torch.equal(Point(target, X).x, X)
    assert torch.equal(target.point(X).score, -X.clamp(max=2.0))


def test_reprs_say_what_is_known():
    counted = Counted()
    assert repr(Target(counted.score)) == "Target(score)"
    assert repr(Target(counted.score, counted.log_prob).point(X)) == "Point(x=(2, 2), Target(score and log_prob))"
