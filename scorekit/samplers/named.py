"""The samplers by the names they have in the literature: each is an `AnnealedMCMC` with its parts chosen."""

from scorekit.base import NoiseSchedule, Start, StepSize, Transition
from scorekit.kernels import Unadjusted
from scorekit.noise import SingleLevel
from scorekit.proposals import Langevin
from scorekit.samplers.driver import AnnealedMCMC
from scorekit.starts import Matched
from scorekit.step_sizes import Constant, SigmaSquared
from scorekit.transitions import Stay


def langevin(
    *,
    sigma: float = 0.0,
    step_size: StepSize | float | None = None,
    num_steps: int = 1000,
    start: Start = Matched(),
    final: Transition = Stay(),
) -> AnnealedMCMC:
    """Unadjusted Langevin dynamics at one noise level: x <- x + h s(x, sigma) + sqrt(2 h) z.

    Args:
        sigma: the level; 0 samples the clean target.
        step_size: h, or a rule; None takes sigma^2 / 8, and is refused at sigma = 0 when sampling starts.
        num_steps: how many steps.
        start: the law of the initial chains.
        final: the last move; `Denoise()` for Tweedie's posterior mean.
    """
    return AnnealedMCMC(
        Unadjusted(Langevin()), SingleLevel(sigma), _rule(step_size), num_steps, start=start, final=final
    )


def annealed_langevin(
    noise: NoiseSchedule,
    *,
    step_size: StepSize | float | None = None,
    steps_per_level: int = 100,
    transition: Transition = Stay(),
    start: Start = Matched(),
    final: Transition = Stay(),
) -> AnnealedMCMC:
    """Annealed Langevin dynamics (Song and Ermon, arXiv 1907.05600, Algorithm 1).

    The paper's setting is `SigmaSquared(1e-5, sigma_min=0.01)` as printed (its alpha is 2 h) or `SigmaSquared(2e-5,
    sigma_min=0.01)` as released, 100 steps a level, `start=Uniform(0, 1)`.

    Args:
        noise: the levels to visit.
        step_size: h, or a rule; None takes sigma^2 / 8.
        steps_per_level: T.
        transition: how chains move from a level to the next.
        start: the law of the initial chains.
        final: the last move; `Denoise()` for Tweedie's posterior mean.
    """
    return AnnealedMCMC(
        Unadjusted(Langevin()), noise, _rule(step_size), steps_per_level, transition, start=start, final=final
    )


def _rule(step_size: StepSize | float | None) -> StepSize:
    if step_size is None:
        return SigmaSquared()
    return step_size if isinstance(step_size, StepSize) else Constant(step_size)
