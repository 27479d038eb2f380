"""scorekit's side: its named samplers in eager mode, on the closed forms of `sk.densities`."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

import scorekit as sk
from _peers.lines import MEANS, ROTATION, VARIANCES, WEIGHTS, WIDTH, Line
from _peers.serving import serve
from scorekit.base import Sampler, Step
from scorekit.densities import Density


class Ours:
    """See `serving.Side`."""

    def versions(self) -> Mapping[str, str]:
        return {"scorekit": sk.__version__, "torch": torch.__version__}

    def sampler(self, line: Line, start: np.ndarray, num_steps: int) -> Callable[[int], None]:
        family, sampler, x = _density(line), _sampler(line, num_steps), torch.from_numpy(start)

        def run(seed: int) -> None:
            for _ in _steps(sampler, family, x, seed):
                pass

        return run

    def states(self, line: Line, start: np.ndarray, num_steps: int, seed: int) -> np.ndarray:
        steps = _steps(_sampler(line, num_steps), _density(line), torch.from_numpy(start), seed)
        return np.stack([start, *(step.x.numpy() for step in steps)])

    def sliced_loss(self, x: np.ndarray) -> Callable[[], float]:
        torch.manual_seed(0)
        model = sk.EnergyModel(sk.networks.ScalarMLP((x.shape[1],), width=WIDTH, conditional=False))
        estimator, data = sk.SlicedScoreMatching(variance_reduction=False), torch.from_numpy(x)
        sigma, eps = data.new_zeros(len(data)), torch.zeros_like(data)

        def gradient() -> float:
            model.zero_grad()
            loss = estimator(lambda y: model(y, sigma), data, sigma, eps).mean()
            loss.backward()
            return loss.item()

        return gradient


def _density(line: Line) -> Density:
    match line.target:
        case "gauss100":
            return sk.densities.Gaussian([0.0] * line.size, VARIANCES.tolist())
        case "dense100":
            return sk.densities.Gaussian([0.0] * line.size, ((ROTATION * VARIANCES) @ ROTATION.T).tolist())
        case "mixture":
            return sk.densities.GaussianMixture(MEANS.tolist(), tuple(WEIGHTS.tolist()), 1.0)


def _sampler(line: Line, num_steps: int) -> Sampler:
    match line.sampler:
        case "langevin":
            return sk.langevin(step_size=line.step_size, num_steps=num_steps)
        case "mala":
            return sk.mala(step_size=line.step_size, num_steps=num_steps)
        case "hmc":
            return sk.hmc(step_size=line.step_size, num_steps=num_steps, num_leapfrog=line.num_leapfrog, jitter=0.0)


def _steps(sampler: Sampler, family: Density, x: torch.Tensor, seed: int) -> Iterator[Step]:
    with torch.inference_mode():
        yield from sampler.steps(family, x, generator=torch.Generator().manual_seed(seed))


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(Ours)
