"""torchebm's side: its samplers in eager mode, given energy and gradient in closed form.

It has no MALA; its HMC with one leapfrog step has the same law and the same arithmetic.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torchebm
from torch import Tensor, nn
from torchebm.core import BaseModel
from torchebm.core.base_sampler import BaseSampler
from torchebm.losses import SlicedScoreMatching
from torchebm.samplers import HamiltonianMonteCarlo, LangevinDynamics

from _peers.lines import MEANS, ROTATION, VARIANCES, WEIGHTS, WIDTH, Line
from _peers.serving import serve

CPU = torch.device("cpu")


class Torchebm:
    """See `serving.Side`."""

    def versions(self) -> Mapping[str, str]:
        return {"torchebm": torchebm.__version__, "torch": torch.__version__}

    def sampler(self, line: Line, start: np.ndarray, num_steps: int) -> Callable[[int], None]:
        sampler, x = _sampler(line), torch.from_numpy(start)

        def run(seed: int) -> None:
            sampler.sample(x, n_steps=num_steps, generator=torch.Generator().manual_seed(seed))

        return run

    def states(self, line: Line, start: np.ndarray, num_steps: int, seed: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        after = _sampler(line).sample(
            torch.from_numpy(start), n_steps=num_steps, return_trajectory=True, generator=generator
        )
        return np.concatenate((start[None], after.transpose(0, 1).numpy()))

    def sliced_loss(self, x: np.ndarray) -> Callable[[], float]:
        torch.manual_seed(0)
        model, data = _Perceptron(x.shape[1]), torch.from_numpy(x)
        sliced = SlicedScoreMatching(model, n_projections=1, device=CPU)

        def gradient() -> float:
            model.zero_grad()
            loss = sliced(data)
            loss.backward()
            return loss.item()

        return gradient


class _Gauss100(BaseModel):
    def __init__(self):
        super().__init__(device=CPU)
        self.precision = torch.from_numpy(1 / VARIANCES).float()

    def forward(self, x: Tensor) -> Tensor:
        return (self.precision * x.square()).sum(1) / 2

    def gradient(self, x: Tensor) -> Tensor:
        return self.precision * x


class _Dense100(BaseModel):
    def __init__(self):
        super().__init__(device=CPU)
        self.precision = torch.from_numpy((ROTATION / VARIANCES) @ ROTATION.T).float()

    def forward(self, x: Tensor) -> Tensor:
        return (x * (x @ self.precision)).sum(1) / 2

    def gradient(self, x: Tensor) -> Tensor:
        return x @ self.precision


class _Mixture(BaseModel):
    def __init__(self):
        super().__init__(device=CPU)
        self.means, self.log_weights = torch.from_numpy(MEANS).float(), torch.from_numpy(WEIGHTS).float().log()

    def _joint(self, x: Tensor) -> Tensor:
        return self.log_weights - (x.unsqueeze(1) - self.means).square().sum(2) / 2

    def forward(self, x: Tensor) -> Tensor:
        return -self._joint(x).logsumexp(1)

    def gradient(self, x: Tensor) -> Tensor:
        return x - self._joint(x).softmax(1) @ self.means


class _Perceptron(BaseModel):
    """The layers of `sk.networks.ScalarMLP`."""

    def __init__(self, size: int):
        super().__init__(device=CPU)
        self.layers = nn.Sequential(
            nn.Linear(size, WIDTH), nn.Softplus(), nn.Linear(WIDTH, WIDTH), nn.Softplus(), nn.Linear(WIDTH, 1, False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).squeeze(1)


def _sampler(line: Line) -> BaseSampler:
    model = {"gauss100": _Gauss100, "dense100": _Dense100, "mixture": _Mixture}[line.target]()
    if line.sampler == "langevin":
        return LangevinDynamics(model, step_size=line.step_size, device=CPU)
    return HamiltonianMonteCarlo(model, step_size=line.leapfrog_length, n_leapfrog_steps=line.num_leapfrog, device=CPU)


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(Torchebm)
