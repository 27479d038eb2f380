"""What `AnnealedMCMC` costs over a bare hand-written annealed Langevin loop: python3 run.py benchmarks/driver.py.

Both loops do the same arithmetic on the same network with the same generator. Goals: 1.01 with a RefineNet, 1.15
with an MLP and 100 chains, 1.15 with a 2-D mixture and 10,000 chains.
"""

import math

import torch
from _timing import machine, paired_ratio

import scorekit as sk
from scorekit.base import TargetFamily


def bare_loop(score, levels: list[float], step_at, steps_per_level: int, x: torch.Tensor, seed: int) -> torch.Tensor:
    """What a user would write: x + h s(x, sigma) + sqrt(2 h) z."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        for sigma in levels:
            h = step_at(sigma)
            for _ in range(steps_per_level):
                z = torch.empty_like(x).normal_(generator=generator)
                x = x + h * score(x, sigma) + math.sqrt(2 * h) * z
    return x


def compare(
    name: str, family: TargetFamily, score, noise, x: torch.Tensor, steps_per_level: int, goal: float, rounds: int
) -> None:
    step = sk.SigmaSquared(0.1)
    sampler = sk.AnnealedMCMC(sk.Unadjusted(sk.Langevin()), noise, step, steps_per_level, start=sk.Uniform(0, 1))
    levels = noise.levels().tolist()

    def ours() -> torch.Tensor:
        with family.evaluating(), torch.inference_mode():
            for step in sampler.steps(family, x, generator=torch.Generator().manual_seed(0)):
                last = step.x
        return last

    def bare() -> torch.Tensor:
        return bare_loop(score, levels, lambda sigma: 0.1 * sigma**2, steps_per_level, x, 0)

    if not torch.allclose(ours(), bare(), rtol=1e-4, atol=1e-5):
        raise SystemExit(f"{name}: the two loops disagree")
    a, b, ratio = paired_ratio(ours, bare, rounds=rounds)
    print(f"{name:28} {a * 1e3:9.1f} {b * 1e3:9.1f} {ratio:7.3f} {goal:6.2f}")


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(machine())
    print(f"{'case':28} {'ours ms':>9} {'bare ms':>9} {'ratio':>7} {'goal':>6}")
    noise = sk.Geometric(1.0, 0.01, 10)

    def by_model(model):
        return lambda x, sigma: model(x, x.new_full((len(x),), sigma))

    images = sk.DirectScore(sk.networks.RefineNet(image_shape=(1, 8, 8), width=16, noise=noise)).eval()
    compare("RefineNet 8x8, 64 chains", images, by_model(images), noise, torch.rand(64, 1, 8, 8), 5, 1.01, 9)
    toy = sk.DirectScore(sk.networks.MLP(event_shape=(2,))).eval()
    compare("MLP, 100 chains", toy, by_model(toy), noise, torch.rand(100, 2), 100, 1.15, 15)
    mixture = sk.densities.GaussianMixture(((5, 5), (-5, -5)), (0.8, 0.2), 1.0)
    compare("2-D mixture, 10,000 chains", mixture, mixture.score, noise, torch.rand(10_000, 2), 20, 1.15, 15)


if __name__ == "__main__":
    main()
