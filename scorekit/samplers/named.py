"""The samplers by the names they have in the literature: each is an `AnnealedMCMC` with its parts chosen.

| at one level | through the levels | |
|---|---|---|
| `langevin` | `annealed_langevin` | unadjusted |
| `mala`, `hmc`, `random_walk` | `annealed_mala`, `annealed_hmc` | with Metropolis's decision |
| | `ancestral`, `reverse_diffusion`, `heun`, `dpm_solver` | transitions alone, one move a level |
| | `predictor_corrector` | transitions and kernel steps |

An argument means the same in all of them; `langevin` and `annealed_langevin` explain theirs in full.

One replaces a part of any by `dataclasses.replace`.
"""

from scorekit.base import LineIntegral, NoiseSchedule, Proposal, Start, StepSize, Transition
from scorekit.kernels import MetropolisAdjusted, Unadjusted
from scorekit.line_integrals import GaussLobatto
from scorekit.noise import SingleLevel
from scorekit.proposals import Hamiltonian, Langevin, RandomWalk
from scorekit.samplers.driver import AnnealedMCMC
from scorekit.starts import Matched
from scorekit.step_sizes import SNR, Constant, SigmaSquared
from scorekit.transitions import Ancestral, Denoise, DPMSolverMultistep, Heun, ReverseDiffusion, Stay


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


def mala(
    *,
    sigma: float = 0.0,
    step_size: StepSize | float | None = None,
    num_steps: int = 1000,
    line_integral: LineIntegral = GaussLobatto(),
    start: Start = Matched(),
    final: Transition = Stay(),
) -> AnnealedMCMC:
    """The Metropolis-adjusted Langevin algorithm at one noise level.

    One evaluation of the score a step, two from a score alone. About .574 of the moves are accepted at the best h
    (Roberts and Rosenthal, JRSS B 1998).

    Args:
        sigma, step_size, num_steps, start, final: see `langevin`.
        line_integral: the difference of log densities where the target knows its score only.
    """
    return _adjusted(Langevin(), line_integral, SingleLevel(sigma), step_size, num_steps, Stay(), start, final)


def hmc(
    *,
    sigma: float = 0.0,
    step_size: StepSize | float | None = None,
    num_steps: int = 300,
    num_leapfrog: int = 3,
    jitter: float = 0.2,
    line_integral: LineIntegral = GaussLobatto(),
    start: Start = Matched(),
    final: Transition = Stay(),
) -> AnnealedMCMC:
    """Hamiltonian Monte Carlo at one noise level.

    `num_leapfrog` evaluations of the score a step, twice as many from a score alone, or as many with
    `line_integral=FreeCubic()`, for small steps. A trajectory is num_leapfrog sqrt(2 h) long, and jittered by `jitter`.

    Args:
        sigma, step_size, num_steps, start, final: see `langevin`.
        num_leapfrog, jitter: see `Hamiltonian`.
        line_integral: the difference of log densities where the target knows its score only.
    """
    proposal = Hamiltonian(num_leapfrog, jitter)
    return _adjusted(proposal, line_integral, SingleLevel(sigma), step_size, num_steps, Stay(), start, final)


def random_walk(
    *,
    sigma: float = 0.0,
    step_size: StepSize | float | None = None,
    num_steps: int = 1000,
    line_integral: LineIntegral = GaussLobatto(),
    start: Start = Matched(),
    final: Transition = Stay(),
) -> AnnealedMCMC:
    """The random walk of Metropolis et al. (J. Chem. Phys. 1953) at one noise level.

    No evaluation of the score where the log density is known: what gradient samplers are compared with.

    Args:
        sigma, step_size, num_steps, start, final: see `langevin`.
        line_integral: the difference of log densities where the target knows its score only.
    """
    return _adjusted(RandomWalk(), line_integral, SingleLevel(sigma), step_size, num_steps, Stay(), start, final)


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


def annealed_mala(
    noise: NoiseSchedule,
    *,
    step_size: StepSize | float | None = None,
    steps_per_level: int = 100,
    line_integral: LineIntegral = GaussLobatto(),
    transition: Transition = Stay(),
    start: Start = Matched(),
    final: Transition = Stay(),
) -> AnnealedMCMC:
    """Annealed Langevin dynamics with Metropolis's decision at every step.

    L levels of T steps take L (T + 1) evaluations of the score, L (2 T + 1) from a score alone.

    Args:
        noise, step_size, steps_per_level, transition, start, final: see `annealed_langevin`.
        line_integral: the difference of log densities where the target knows its score only.
    """
    return _adjusted(Langevin(), line_integral, noise, step_size, steps_per_level, transition, start, final)


def annealed_hmc(
    noise: NoiseSchedule,
    *,
    step_size: StepSize | float | None = None,
    steps_per_level: int = 10,
    num_leapfrog: int = 3,
    jitter: float = 0.2,
    line_integral: LineIntegral = GaussLobatto(),
    transition: Transition = Stay(),
    start: Start = Matched(),
    final: Transition = Stay(),
) -> AnnealedMCMC:
    """Annealed Hamiltonian Monte Carlo.

    By default a trajectory is three steps of sigma / 2, about (pi / 2) sigma, and jittered by a fifth: bound it so, and
    do not tune it to an acceptance rate, since long trajectories hop between modes in the wrong proportions. L levels
    of T steps of n leapfrog steps take L (n T + 1) evaluations, L (2 n T + 1) from a score alone.

    Args:
        noise, step_size, steps_per_level, transition, start, final: see `annealed_langevin`.
        num_leapfrog, jitter: see `Hamiltonian`.
        line_integral: the difference of log densities where the target knows its score only.
    """
    proposal = Hamiltonian(num_leapfrog, jitter)
    return _adjusted(proposal, line_integral, noise, step_size, steps_per_level, transition, start, final)


def ancestral(noise: NoiseSchedule, *, start: Start = Matched(), final: Transition = Denoise()) -> AnnealedMCMC:
    """Ancestral sampling (Song et al., arXiv 2011.13456, appendix F): one evaluation a level, and noise."""
    return _moves(Ancestral(), noise, start, final)


def reverse_diffusion(noise: NoiseSchedule, *, start: Start = Matched(), final: Transition = Denoise()) -> AnnealedMCMC:
    """The reverse-time diffusion (Song et al., arXiv 2011.13456, appendix E): one evaluation a level, and noise."""
    return _moves(ReverseDiffusion(), noise, start, final)


def heun(noise: NoiseSchedule, *, start: Start = Matched(), final: Transition = Denoise()) -> AnnealedMCMC:
    """Heun's method on the flow (Karras et al., arXiv 2206.00364): two evaluations a level, without noise."""
    return _moves(Heun(), noise, start, final)


def dpm_solver(
    noise: NoiseSchedule, *, eta: float = 1.0, start: Start = Matched(), final: Transition = Denoise()
) -> AnnealedMCMC:
    """DPM-Solver++(2M) (Lu et al., arXiv 2211.01095): one evaluation a level.

    `eta` is how much noise: 0 for the flow, best with few levels; 1 for the reverse-time diffusion, best with ten or
    more.
    """
    return _moves(DPMSolverMultistep(eta), noise, start, final)


def predictor_corrector(
    noise: NoiseSchedule,
    *,
    step_size: StepSize | float = SNR(0.16),
    steps_per_level: int = 1,
    transition: Transition = ReverseDiffusion(),
    start: Start = Matched(),
    final: Transition = Denoise(),
) -> AnnealedMCMC:
    """A predictor between the levels, unadjusted Langevin steps on each (Song et al., arXiv 2011.13456, Algorithm 2).

    The published step size is for images: on few coordinates |s| is now and then close to 0, and the step then too
    long; give a `step_size` there. For a Metropolis-adjusted corrector give a `transition` to `annealed_mala` or
    `annealed_hmc`.
    """
    return annealed_langevin(
        noise, step_size=step_size, steps_per_level=steps_per_level, transition=transition, start=start, final=final
    )


def _moves(transition: Transition, noise: NoiseSchedule, start: Start, final: Transition) -> AnnealedMCMC:
    return AnnealedMCMC(
        Unadjusted(Langevin()), noise, steps_per_level=0, transition=transition, start=start, final=final
    )


def _adjusted(
    proposal: Proposal,
    line_integral: LineIntegral,
    noise: NoiseSchedule,
    step_size: StepSize | float | None,
    num_steps: int,
    transition: Transition,
    start: Start,
    final: Transition,
) -> AnnealedMCMC:
    kernel = MetropolisAdjusted(proposal, line_integral)
    return AnnealedMCMC(kernel, noise, _rule(step_size), num_steps, transition, start=start, final=final)


def _rule(step_size: StepSize | float | None) -> StepSize:
    if step_size is None:
        return SigmaSquared()
    return step_size if isinstance(step_size, StepSize) else Constant(step_size)
