"""The check of a line integral."""

import torch

from scorekit.base import Generator, LineIntegral, Proposal, Target, wide
from scorekit.kernels import MetropolisAdjusted
from scorekit.proposals import Hamiltonian, Langevin
from scorekit.testing.invariance import stationary, third_step
from scorekit.testing.kernels import check_mobility
from scorekit.testing.targets import LAWS, correlated
from scorekit.testing.trial import Call, Rows, Trial, any_event, configuration, difference


def check_line_integral(
    line_integral: LineIntegral, *, proposal: Proposal | None = None, step_size: float = 0.1
) -> None:
    """The laws of a line integral: antisymmetric, exact for constant scores, and exact enough for Metropolis.

    `MetropolisAdjusted(proposal, line_integral)` has to be stationary on targets of which it sees the score alone. The
    log-gamma target rejects the trapezoid rule, which is exact on Gaussians.

    Args:
        line_integral: the rule.
        proposal: whose paths it integrates over; None for Langevin's if one segment is enough, else a Hamiltonian's.
        step_size: an h for that proposal.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    trial = Trial("check_line_integral", line_integral)
    shortest = line_integral.min_segments
    chosen = proposal or (Langevin() if shortest == 1 else Hamiltonian(max(3, shortest)))

    def call_on(event: tuple[int, ...]) -> Call:
        target = Target(correlated(event).score)

        def call(rows: Rows, generator: Generator) -> Rows:
            size = rows[0].new_full((), step_size)
            return line_integral(chosen.propose(target.point(rows[0]), size, generator=generator).path)

        return call

    any_event(trial, call_on, draws=True)
    for dtype in (torch.float32, torch.float64):
        (integral, _) = call_on((3,))((trial.rows((3,), dtype=dtype),), trial.generator("type"))
        trial.type(integral, wide(torch.empty(0, dtype=dtype)), "the integral")
    x = trial.rows((3,))
    constant, bent = Target(lambda y: torch.ones_like(y) * 3), Target(lambda y: -(y**3))
    for target in (constant, bent):
        path = chosen.propose(target.point(x), x.new_full((), step_size), generator=trial.generator("path")).path
        value, trusted = line_integral(path)
        trial.shape(trusted, (len(x),), "trusted")
        trial.type(trusted, torch.ones(1, dtype=torch.bool), "trusted")
        trial.error(
            difference(-line_integral(path[::-1])[0], value),
            "reversal of the path changes the sign",
            "weights that are not symmetric in the two ends",
        )
        if target is constant:
            trial.error(
                difference(value, 3 * (path[-1].x - path[0].x).sum(1)),
                "exact for a constant score",
                "weights that do not sum to 1",
            )
    kernel = MetropolisAdjusted(chosen, line_integral)
    for name in ("gauss3", "loggamma2", "gmm2"):
        law = LAWS[name]().score_only()
        trial.chance(
            stationary(kernel, law, step_size, trial.seed(name)),
            f"Metropolis is stationary on {name}",
            "a rule of too low an order, such as the trapezoid rule",
        )
    check_mobility(trial, third_step(kernel, LAWS["loggamma2"]().score_only(), step_size, trial.seed("mobility")))
    configuration(trial)
