"""The command line in this process, and a run to try it on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import scorekit as sk
from scorekit.cli import main

NOISE = sk.Geometric(sigma_max=1.0, sigma_min=0.1, num_levels=4)
SAMPLER = sk.annealed_langevin(NOISE, steps_per_level=2, start=sk.Uniform(0, 1), final=sk.Denoise())


class Result(NamedTuple):
    code: int
    out: str
    err: str

    def fails(self, code: int, *said: str) -> bool:
        """Whether it ended with this code, nothing on stdout, and one line of error that says all of `said`."""
        lines = self.err.splitlines()
        one = self.out == "" and len(lines) == 1 and lines[0].startswith("error: ")
        return one and self.code == code and all(each in lines[0] for each in said)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        return Result(code, *capsys.readouterr())

    return run


def save_run(out: Path, model: sk.ScoreModel, noise: sk.base.NoiseSchedule, sampler: sk.base.Sampler) -> Path:
    """What a finished run leaves, without the training."""
    sk.save(out / "checkpoint", model)
    config = {name: sk.to_config(each) for name, each in (("noise", noise), ("sampler", sampler))}
    (out / "config.json").write_text(json.dumps({"data": "embedded", "estimator": None, **config}))
    return out


def small_model() -> sk.ScoreModel:
    """A network on a table of four levels, for pictures of 8 by 8."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = sk.DirectScore(sk.networks.RefineNet(image_shape=(1, 8, 8), width=4, noise=NOISE))
    model.set_moments(torch.full((1, 8, 8), 0.3), torch.full((1, 8, 8), 0.2))
    return model


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("run"), small_model(), NOISE, SAMPLER)
