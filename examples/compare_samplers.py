"""Every registered sampler on the toy mixture: how many evaluations of the score until the weights are right?

    python3 run.py examples/compare_samplers.py            # about a minute on one CPU core
    python3 run.py examples/compare_samplers.py --smoke    # seconds: shows that everything runs

The target is the mixture of toy_mixture.py, .8 N((5, 5), I) + .2 N((-5, -5), I), annealed from sigma = 20 to 1 with
exact scores. All samplers have the score alone, as they would have a network's, h = sigma^2 / 8 at each level where
they take steps, chains that start from the data's moments, and no final move. Each is run at several efforts, and its
evaluations are counted, not computed. A sampler of your own, in an installed plugin, is in the table too.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import cyclopts
import matplotlib.pyplot as plt
import torch
from torch import Tensor

import scorekit as sk
from scorekit.base import Generator, Sampler, Target, TargetFamily, WrappedFamily

POINTS = sk.densities.fig3_mixture()  # its p_1 is the mixture
SIGMA_MAX, SIGMA_MIN, SMALL_WEIGHT = 20.0, 1.0, 0.2
STEPS_PER_LEVEL = (1, 3, 10, 30, 100)  # on 10 levels
NUM_LEVELS = (5, 10, 20, 50, 150)  # of the samplers without steps on a level
NUM_STEPS = (10, 30, 100, 300, 1000)  # of the samplers at one level
STEP_SIZE = sk.SigmaSquared()  # h = sigma^2 / 8, the default of all but predictor_corrector


class Row(NamedTuple):
    """What a run of a sampler cost, and what it gave."""

    sampler: str
    evaluations: int  # of the score, for each chain
    weight_error: float  # share of the small mode - .2
    variance: float  # of a coordinate within the large mode, where p_1 has 1


@final
class Counted(WrappedFamily):
    """A family that counts how often its score is evaluated, and hides its log density."""

    def __init__(self, family: TargetFamily):
        self._family, self.evaluations = family, 0

    @property
    def family(self) -> TargetFamily:
        """The family underneath."""
        return self._family

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """Its target at one level, counting."""
        score = self._family.at(sigma, like=like, generator=generator).score

        def counting(x: Tensor) -> Tensor:
            self.evaluations += 1
            return score(x)

        return Target(counting)


@dataclass(frozen=True)
class Efforts:
    """How much each sampler may do, from little to much."""

    steps_per_level: tuple[int, ...] = STEPS_PER_LEVEL
    num_levels: tuple[int, ...] = NUM_LEVELS
    num_steps: tuple[int, ...] = NUM_STEPS


def samplers(efforts: Efforts) -> dict[str, list[Sampler]]:
    """Every registered sampler at every effort, from what its constructor takes."""
    return {name: variants(name, maker, efforts) for name, maker in sorted(sk.registry("samplers").items())}


def variants(name: str, maker: Callable[..., Sampler], efforts: Efforts) -> list[Sampler]:
    """A sampler at every effort; none if its constructor wants what is not known here."""
    known = inspect.signature(maker).parameters
    fixed: dict[str, object] = {"final": sk.Stay(), "step_size": STEP_SIZE, "sigma": SIGMA_MIN}  # Denoise leaves points
    if name == "annealed-mcmc":  # the class of all others: here the flow, and a Metropolis-adjusted step on each level
        fixed |= {"kernel": sk.MetropolisAdjusted(sk.Langevin()), "transition": sk.Heun()}
    if "steps_per_level" in known:
        changing = [{"noise": ladder(10), "steps_per_level": count} for count in efforts.steps_per_level]
    elif "noise" in known:
        changing = [{"noise": ladder(count)} for count in efforts.num_levels]
    else:
        changing = [{"num_steps": count} for count in efforts.num_steps]
    given = {key: value for key, value in fixed.items() if key in known}
    wanted = {key for key, parameter in known.items() if parameter.default is parameter.empty}
    if not wanted <= {*given, *changing[0]}:
        return []
    return [maker(**given, **each) for each in changing]


def ladder(num_levels: int) -> sk.Geometric:
    return sk.Geometric(SIGMA_MAX, SIGMA_MIN, num_levels)


def measure(name: str, sampler: Sampler, num_samples: int, seed: int) -> Row:
    """Run a sampler on the mixture."""
    family = Counted(POINTS)
    generator = torch.Generator().manual_seed(seed)
    x = sk.sample(sampler, family, (num_samples, 2), generator=generator)
    small = x.sum(1) < 0  # the modes are 14 std apart
    error = small.double().mean().item() - SMALL_WEIGHT
    return Row(name, family.evaluations, error, x[~small].double().var(0).mean().item())


def good(row: Row, chance: float) -> bool:
    """Weights right to .02 more than chance, variance to a tenth."""
    return abs(row.weight_error) < 0.02 + chance and abs(row.variance - 1) < 0.1


def table(rows: list[Row], chance: float) -> str:
    """One line a sampler: its cheapest good run, and its longest one."""
    lines = [f"{'':22}  cheapest good run      longest run", f"{'sampler':22}  evaluations            evaluations"]
    lines[1] += "  weight error  variance"
    for name, own in by_sampler(rows).items():
        enough = next((str(row.evaluations) for row in own if good(row, chance)), "none")
        _, evaluations, error, variance = own[-1]
        lines.append(f"{name:22}  {enough:>11}            {evaluations:11}  {error:+12.3f}  {variance:8.2f}")
    return "\n".join(lines)


def by_sampler(rows: list[Row]) -> Mapping[str, list[Row]]:
    return {name: [row for row in rows if row.sampler == name] for name in dict.fromkeys(row.sampler for row in rows)}


def plot(rows: list[Row], chance: float, path: Path) -> None:
    """Weight error and variance against evaluations, one line a sampler."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for number, (name, own) in enumerate(by_sampler(rows).items()):
        style = {"color": plt.get_cmap("tab20")(number % 20), "marker": "osD^v"[number % 5], "ms": 4, "lw": 1.2}
        cost = [row.evaluations for row in own]
        left.plot(cost, [max(abs(row.weight_error), chance / 4) for row in own], label=name, **style)
        right.plot(cost, [row.variance for row in own], **style)
    left.axhspan(chance / 8, chance, color="0.9", zorder=0)
    left.text(0.99, 0.02, "grey: within two standard errors", transform=left.transAxes, ha="right", fontsize="small")
    left.set(xscale="log", yscale="log", xlabel="evaluations of the score", ylabel="|error of the small mode's weight|")
    left.set_ylim(chance / 6, 1)
    right.axhline(1, color="0.5", lw=0.8, ls="--")
    right.set(xscale="log", yscale="log", xlabel="evaluations of the score", ylabel="variance within a mode (truth: 1)")
    figure.legend(loc="outside right center", fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    *, out: Path = Path("runs/compare-samplers"), num_samples: int = 10_000, seed: int = 0, smoke: bool = False
) -> None:
    """Run every registered sampler on the toy mixture at five efforts, and compare them.

    Args:
        out: the folder for samplers.png and samplers.json, which has every run.
        num_samples: chains of each run: 10,000 fix a weight to .008, two standard errors.
        seed: of all runs.
        smoke: seconds: two efforts, few chains.
    """
    out.mkdir(parents=True, exist_ok=True)
    efforts = Efforts((1, 10), (5, 20), (10, 100)) if smoke else Efforts()
    num_samples = min(num_samples, 500) if smoke else num_samples
    chance = 2 * (SMALL_WEIGHT * (1 - SMALL_WEIGHT) / num_samples) ** 0.5
    runs = samplers(efforts)
    rows = [measure(name, each, num_samples, seed) for name, own in runs.items() for each in own]
    print(f"good: weights within {0.02 + chance:.3f}, variance within a mode within 10 %, by {num_samples:,} chains\n")
    print(table(rows, chance))
    for name in (name for name, own in runs.items() if not own):
        print(f"left out: {name}, whose constructor wants what is not known here")
    (out / "samplers.json").write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")
    plot(rows, chance, out / "samplers.png")
    print(f"\n{out}: samplers.png, samplers.json")


if __name__ == "__main__":
    cyclopts.run(main)
