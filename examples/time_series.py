"""Scores of time series: learn windows of oscillators, sample new ones, and judge them by their autocovariances.

    python3 run.py examples/time_series.py            # about a minute on one CPU core
    python3 run.py examples/time_series.py --smoke    # seconds: shows that everything runs

An event need not be an image: here it is a window of T = 16 steps of C = 2 channels, x of shape (B, T, C). The data are
damped oscillators driven by noise, position and velocity as one complex number,

    z_t = rho e^(i omega) z_(t-1) + sqrt(1 - rho^2) w_t,      w_t standard normal in both parts,

each window with a slow omega (in 7 of 10) or a fast one. The autocovariance is known, so that nobody has to look:

    Gamma(k) = E[x_t x_(t+k)'] = rho^k (.7 R(k omega_slow) + .3 R(k omega_fast)),   R(a) = (cos a, sin a; -sin a, cos a)

A Gaussian with these moments would fool that check, so the share of slow windows is compared as well.
"""

import math
from pathlib import Path
from typing import NamedTuple

import cyclopts
import matplotlib.pyplot as plt
import torch
from einops import einsum
from torch import Tensor, nn

import scorekit as sk
from scorekit.base import Generator, expand

LENGTH, RHO, SLOW_WEIGHT = 16, 0.95, 0.7
SLOW, FAST = 2 * math.pi / 16, 2 * math.pi / 5  # omega: a period of 16 steps, or of 5
LAGS = 8
# The numbers of a window hang together: two windows are up to 26 apart, though a number has the variance 1. Chains that
# start from sigma_max = 3 are too narrow where the data are widest, and the samples have 3/4 of the variance.
NOISE = sk.Geometric(sigma_max=20.0, sigma_min=0.1, num_levels=20)


class Row(NamedTuple):
    """What a set of windows has of the law."""

    name: str
    evaluations: int | None  # of the score, for each window
    slow: float  # share of slow windows; the law has .7
    variance: float  # of a number; the law has 1
    worst: float  # the largest error of an autocovariance, over lags 0 to 7 and both channels; Gamma(0) is 1
    x: Tensor


def oscillators(count: int, *, generator: Generator = None) -> Tensor:
    """Stationary windows: (count, T, C)."""
    unit = sk.base.uniform(torch.empty(count), generator=generator)
    omega = torch.where(unit < SLOW_WEIGHT, SLOW, FAST)
    turn = torch.polar(torch.full_like(omega, RHO), omega)
    noise = torch.view_as_complex(sk.base.normal(torch.empty(count, LENGTH, 2), generator=generator))
    states = [noise[:, 0]]
    for t in range(1, LENGTH):
        states.append(turn * states[-1] + math.sqrt(1 - RHO**2) * noise[:, t])
    return torch.view_as_real(torch.stack(states, dim=1))


def known_autocovariance() -> Tensor:
    """Gamma(k) of the law: (LAGS, C, C)."""
    k = torch.arange(LAGS, dtype=torch.float64)
    mixed = [SLOW_WEIGHT * f(k * SLOW) + (1 - SLOW_WEIGHT) * f(k * FAST) for f in (torch.cos, torch.sin)]
    cosine, sine = (RHO**k * part for part in mixed)
    return torch.stack((torch.stack((cosine, sine), 1), torch.stack((-sine, cosine), 1)), 1)


def autocovariance(x: Tensor) -> Tensor:
    """The mean of x_t x_(t+k)' over windows and times (the mean of the law is 0): (LAGS, C, C)."""
    x = x.double()
    pairs = [(x[:, : LENGTH - k], x[:, k:]) for k in range(LAGS)]
    products = [einsum(a, b, "window time i, window time j -> i j") / a[..., 0].numel() for a, b in pairs]
    return torch.stack(products)


def share_of_slow(x: Tensor) -> float:
    """The share of windows that turn, on average, by less than the mean of the two angles a step."""
    z = torch.view_as_complex(x.contiguous())
    angle = (z[:, 1:] * z[:, :-1].conj()).sum(1).angle()
    return (angle < (SLOW + FAST) / 2).double().mean().item()


class Preconditioned(nn.Module):
    """f(x, sigma) such that s = f / sigma is right by itself for white data of variance 1, and a network adds the rest:

        f = net(x / c, sigma) / c - sigma x / c^2,     c^2 = 1 + sigma^2

    Its input has the size of 1 at every level (Karras et al., arXiv 2206.00364, section 5), which a perceptron needs.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B, T, C), (B,) -> (B, T, C)."""
        c, s = expand((1 + sigma.square()).sqrt(), x), expand(sigma, x)
        return self.net(x / c, sigma) / c - s * x / c**2


def learn(steps: int, seed: int) -> sk.ScoreModel:
    """A perceptron on the window, by denoising; the weight makes the network's own task equally large at all levels."""
    torch.manual_seed(seed)  # the network's initial weights
    data = oscillators(50_000, generator=sk.PerChain(seed))
    net = Preconditioned(sk.networks.MLP(event_shape=(LENGTH, 2), width=256, depth=3, activation="silu"))
    objective = sk.Objective(
        sk.ScaledScore(net), sk.DenoisingScoreMatching(), NOISE, weight=lambda sigma: sigma**2 * (1 + sigma**2)
    )
    for _ in sk.fit(objective, data, num_steps=steps, learning_rate=2e-3, decay="cosine", seed=seed):
        pass
    return objective.model


def samplers() -> dict[str, sk.AnnealedMCMC]:
    """Transitions alone, transitions with a corrector, and steps alone."""
    return {
        "DPM-Solver": sk.dpm_solver(NOISE),
        "Heun and MALA": sk.annealed_mala(NOISE, steps_per_level=2, transition=sk.Heun(), final=sk.Denoise()),
        "annealed Langevin": sk.annealed_langevin(NOISE, steps_per_level=25, final=sk.Denoise()),
    }


def judge(name: str, x: Tensor, evaluations: int | None = None) -> Row:
    """Compare windows with the law."""
    gamma = autocovariance(x)
    worst = (gamma - known_autocovariance()).abs().max().item()
    return Row(name, evaluations, share_of_slow(x), gamma[0].diagonal().mean().item(), worst, x)


def sample(name: str, sampler: sk.AnnealedMCMC, model: sk.ScoreModel, count: int, seed: int) -> Row:
    """Draw windows, counting the network's evaluations."""
    calls = []
    with model.register_forward_pre_hook(lambda module, inputs: calls.append(1)):
        x = sk.sample(sampler, model, (count, LENGTH, 2), generator=torch.Generator().manual_seed(seed))
    return judge(name, x, len(calls))


def table(rows: list[Row]) -> str:
    lines = [f"{'':18}  evaluations  slow windows  variance  largest error of an autocovariance"]
    for each in rows:
        cost = "" if each.evaluations is None else str(each.evaluations)
        lines.append(f"{each.name:18}  {cost:>11}  {each.slow:12.3f}  {each.variance:8.3f}  {each.worst:.3f}")
    return "\n".join(lines)


def plot(rows: list[Row], path: Path) -> None:
    """Windows of the data and of one sample, one above the other, and the autocovariances of all."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for ax, each in zip(axes[:2], (rows[0], rows[2]), strict=True):
        for place, window in enumerate(each.x[:6]):
            ax.plot(window.numpy() + 4.0 * place, lw=1)
            ax.set_prop_cycle(None)
        ax.set(title=f"six windows: {each.name}", xlabel="time step", yticks=[])
    known = known_autocovariance()
    for channel in (0, 1):
        axes[2].plot(known[:, 0, channel], color="black", lw=3, alpha=0.25, label="the law" if channel == 0 else None)
        for number, each in enumerate(rows):
            style = {"color": f"C{number}", "ls": ("-", "--")[channel], "lw": 1}
            curve = autocovariance(each.x)[:, 0, channel]
            axes[2].plot(curve, label=each.name if channel == 0 else None, **style)
    axes[2].set(title="autocovariance; dashed: across channels", xlabel="lag")
    axes[2].legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    *,
    out: Path = Path("runs/time-series"),
    steps: int = 4000,
    num_samples: int = 4000,
    seed: int = 0,
    smoke: bool = False,
) -> None:
    """Learn windows of oscillators and compare three samplers of the learned score with the law of the data.

    Args:
        out: the folder for windows.png.
        steps: of training.
        num_samples: windows of each sample: 4,000 fix the share of slow ones to .014, two standard errors.
        seed: of the network, the data and the training.
        smoke: seconds: few steps, few windows. Its figures mean nothing.
    """
    out.mkdir(parents=True, exist_ok=True)
    steps, num_samples = (40, 200) if smoke else (steps, num_samples)
    rows = [judge("data", oscillators(num_samples, generator=sk.PerChain(seed).fork("more")))]
    model = learn(steps, seed)
    rows += [sample(name, sampler, model, num_samples, seed) for name, sampler in samplers().items()]
    print(f"the law: {SLOW_WEIGHT} of the windows slow, variance 1\n")
    print(table(rows))
    plot(rows, out / "windows.png")
    print(f"\n{out}: windows.png")


if __name__ == "__main__":
    cyclopts.run(main)
