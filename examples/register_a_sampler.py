"""Register a sampler of one's own and make it by name.

    python3 run.py examples/register_a_sampler.py    # a second

Euler's discretisation of Langevin dynamics (`langevin`) makes its chains too wide, by O(h). Leimkuhler and Matthews
(AMRX 2013) average the noise of two successive steps,

    x <- x + h s(x) + sqrt(h / 2) (z + z'),    z' the next step's z,

which costs no further evaluation, is exact on Gaussians and of second order elsewhere. The state is (x, z): the kernel
declares it, and the sampler's loop carries it.
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

import scorekit as sk
from scorekit.base import Generator, Info, Kernel, Point, expand, normal


class Noisy(NamedTuple):
    """The chains and the noise of their last step, both (B, *E)."""

    x: Tensor
    z: Tensor


@final
@dataclass(frozen=True)
class LeimkuhlerMatthews(Kernel[Noisy]):
    """Langevin dynamics with averaged noise."""

    def init(self, point: Point, *, generator: Generator = None) -> Noisy:
        """A first draw of the noise."""
        return Noisy(point.x, normal(point.x, generator=generator))

    def step(
        self, point: Point, state: Noisy, step_size: Tensor, *, generator: Generator = None
    ) -> tuple[Noisy, Info | None]:
        """One evaluation of the score."""
        h, z = expand(step_size, point.x), normal(point.x, generator=generator)
        x = point.x + h * point.score + (h / 2).sqrt() * (state.z + z)
        return Noisy(point.target.point(x).x, z), None


class Plugin:
    """What an installed plugin's module would hold."""

    @sk.hookimpl
    def scorekit_kernels(self) -> dict[str, type[Kernel]]:
        """One kernel."""
        return {"leimkuhler-matthews": LeimkuhlerMatthews}


def main(num_chains: int = 5_000, num_steps: int = 100, step_size: float = 0.25) -> dict[str, tuple[Tensor, Tensor]]:
    """Print, and return, the mean and the standard deviation of each coordinate, by kernel."""
    sk.register(Plugin(), "averaged-noise")
    mixture = sk.make("densities", "gaussian-mixture", means=((-1.0, 0.0), (1.0, 0.5)), weights=(0.3, 0.7), stds=0.7)
    moments = {"exact": mixture.moments}
    for kernel in ({"name": "unadjusted", "params": {"proposal": "langevin"}}, "leimkuhler-matthews"):
        sampler = sk.make(
            "samplers", "annealed-mcmc", kernel=kernel, noise={"name": "single-level", "params": {"sigma": 0.0}},
            step_size=sk.Constant(step_size), steps_per_level=num_steps,
        )  # fmt: skip
        x = sk.sample(sampler, mixture, (num_chains, 2), generator=torch.Generator().manual_seed(0))
        moments[str(sampler.kernel)] = x.mean(0), x.std(0)
    for name, (mean, std) in moments.items():
        print(f"{name:32}  mean {mean[0]:6.3f} {mean[1]:6.3f}   std {std[0]:5.3f} {std[1]:5.3f}")
    return moments


if __name__ == "__main__":
    main()
