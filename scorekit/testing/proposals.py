"""The check of a proposal."""

from functools import partial

import torch
from torch import Tensor

from scorekit.base import Generator, Move, Proposal, Target, wide
from scorekit.kernels import MetropolisAdjusted
from scorekit.testing.kernels import check_invariance, check_step_shapes
from scorekit.testing.targets import LAWS, correlated
from scorekit.testing.trial import Call, Rows, Trial, any_event, configuration, difference, scoreless


def check_proposal(proposal: Proposal, *, step_size: float = 0.1) -> None:
    """The laws of a proposal; as Metropolis needs it, its ratio of densities has to be right.

    A path starts at the current point and has `num_segments` segments, between states that the target has projected;
    the score is asked for only if `needs_score` says so; h may have the shapes (), (B,) and (B, *E); the log ratios of
    a move and of its reverse cancel; `MetropolisAdjusted(proposal)` is stationary on four targets.

    Args:
        proposal: the proposal.
        step_size: an h at which a good part of the moves is accepted on targets of unit size.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_proposal", proposal)
    any_event(trial, lambda event: _moving(proposal, correlated(event).at(0.0), step_size), draws=True)
    for dtype in (torch.float32, torch.float64):
        x = trial.rows((3,), dtype=dtype)
        target = correlated((3,)).at(0.0) if proposal.needs_score else scoreless(trial, "needs_score")
        move = proposal.propose(target.point(x), x.new_full((), step_size), generator=trial.generator("type"))
        ratio = proposal.log_q_ratio(move, x.new_full((), step_size))
        trial.type(move.path[-1].x, x, "a proposed state")
        trial.type(ratio, wide(x), "log_q_ratio")
        trial.shape(ratio, (len(x),), "log_q_ratio")
    _check_path(trial, proposal, step_size)
    check_step_shapes(trial, partial(_one_move, trial, proposal), step_size, trial.rows((4, 2)))
    _check_reverse(trial, proposal, step_size)
    check_invariance(
        trial,
        MetropolisAdjusted(proposal),
        LAWS,
        step_size,
        "a wrong log_q_ratio, or a move that is not the one that it is the ratio of: mean for sum, a sign, the score "
        "of the wrong point",
    )
    configuration(trial)


def _moving(proposal: Proposal, target: Target, h: float) -> Call:
    def call(rows: Rows, generator: Generator) -> Rows:
        size = rows[0].new_full((), h)
        move = proposal.propose(target.point(rows[0]), size, generator=generator)
        return *(point.x for point in move.path), proposal.log_q_ratio(move, size), *(move.momenta or ())

    return call


def _check_path(trial: Trial, proposal: Proposal, h: float) -> None:
    x = trial.rows((3,))
    half = Target(lambda y: -y, project=lambda y: torch.cat((torch.zeros_like(y[:, :1]), y[:, 1:]), dim=1))
    path = proposal.propose(half.point(x), x.new_full((), h), generator=trial.generator("path")).path
    trial.require(
        len(path) == proposal.num_segments + 1,
        "the path has num_segments segments",
        f"{len(path) - 1}",
        f"{proposal.num_segments}",
        "num_segments is not overridden, or a point is left out",
    )
    trial.error(
        difference(path[0].x, half.point(x).x),
        "the path starts at the current point",
        "path = (proposed,) for (point, proposed), or the two the wrong way round",
    )
    trial.error(
        max(difference(half.project(point.x), point.x) for point in path),
        "every point is projected",
        "Point(target, y) for target.point(y)",
    )


def _one_move(trial: Trial, proposal: Proposal, step_size: Tensor) -> Rows:
    point = correlated((4, 2)).at(0.0).point(trial.rows((4, 2)))
    move = proposal.propose(point, step_size, generator=trial.generator("step shapes"))
    return move.path[-1].x, proposal.log_q_ratio(move, step_size)


def _check_reverse(trial: Trial, proposal: Proposal, h: float) -> None:
    x = trial.rows((3,))
    size = x.new_full((), h)
    move = proposal.propose(correlated((3,)).at(0.0).point(x), size, generator=trial.generator("reverse"))
    back = Move(move.path[::-1], None if move.momenta is None else (-move.momenta[1], -move.momenta[0]))
    there, again = proposal.log_q_ratio(move, size), proposal.log_q_ratio(back, size)
    trial.error(
        difference(-again, there),
        "the log ratios of a move and of its reverse cancel",
        "log q(x | y) evaluated with the score at x, or one of the two terms missing",
    )
