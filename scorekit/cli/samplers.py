r"""Samplers by name, for the model of a checkpoint.

What a named sampler needs of the run and is not given:

- `noise`, the levels to visit: the run's own, which the model was trained on. With a number of levels N, or of
  evaluations of the score, N levels are chosen instead:
    - a model that is valid at every sigma: geometric between the run's largest and smallest level;
    - a model that knows a table of L levels: N of them, evenly spaced in the table, both ends among them; for N > L
      geometric levels again, each rounded to the nearest of the table (`RoundToLevels`);
- `sigma`, the one level of `langevin`, `mala`, `hmc`, ...: the run's smallest.

Everything else is the sampler's own default. With N levels an annealed sampler takes a N + b evaluations; a and b are
counted at N = 2 and 3.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from scorekit.base import NoiseSchedule, Sampler, ScoreModel
from scorekit.cli.checkpoints import event_shape
from scorekit.cli.errors import UsageError, usage
from scorekit.cli.parameters import parse_params
from scorekit.component import read_parameters
from scorekit.config import from_config
from scorekit.evaluation import evaluations_per_sample
from scorekit.interop import stored_sampler
from scorekit.models import RoundToLevels
from scorekit.noise import Geometric, Levels
from scorekit.registry import make, registry
from scorekit.runs import run_config, sampler_for
from scorekit.samplers import AnnealedMCMC


@final
@dataclass(frozen=True)
class Request:
    """What the command line says of the sampler.

    Args:
        name: a registered name or a JSON file; None for the sampler of the checkpoint's run.
        params: "key=value" each: parameters of a named sampler.
        num_levels: how many levels to visit.
        evaluations: as many levels as take at most so many evaluations of the score.
    """

    name: str | None = None
    params: Sequence[str] = ()
    num_levels: int | None = None
    evaluations: int | None = None

    def __post_init__(self):
        given = [
            option
            for option, value in (
                ("--param", self.params),
                ("--num-levels", self.num_levels),
                ("--evaluations", self.evaluations),
            )
            if value
        ]
        if given and (self.name is None or _is_file(self.name)):
            raise UsageError(f"{given[0]} is for a sampler by its name: give --sampler NAME too")
        if self.num_levels is not None and self.evaluations is not None:
            raise UsageError("--num-levels and --evaluations: expected one of them")


def choose(request: Request, model: ScoreModel, checkpoint: Path) -> tuple[Sampler, ScoreModel]:
    """The sampler, and the model as it has to be given to it.

    Args:
        request: what is asked for.
        model: the checkpoint's model.
        checkpoint: where it comes from.

    Raises:
        UsageError: if the name is unknown, or the sampler does not take what is given.
        ValueError: if a file cannot be read, or the checkpoint does not know what the sampler needs.
    """
    if request.name is None:
        return run_sampler(checkpoint), model
    if _is_file(request.name):
        return read_sampler(Path(request.name)), model
    return named_sampler(request, model, run_noise(model, checkpoint))


def run_sampler(checkpoint: Path) -> Sampler:
    """The sampler that was stored with a converted checkpoint, else that of the run that the checkpoint belongs to.

    Raises:
        ValueError: if there is none.
    """
    found = stored_sampler(checkpoint) or sampler_for(checkpoint)
    if found is None:
        raise ValueError(f"{checkpoint}: no run's config.json says how to sample it; give --sampler NAME")
    return found


def run_noise(model: ScoreModel, checkpoint: Path) -> NoiseSchedule | None:
    """The levels that the model was trained on, as far as the checkpoint knows them."""
    sampler = stored_sampler(checkpoint)
    if isinstance(sampler, AnnealedMCMC):
        return sampler.noise
    config = run_config(checkpoint)
    if "noise" in config:
        written: NoiseSchedule = from_config(config["noise"])
        if _valid(model, written):
            return written
    return None if model.noise_levels is None else _levels(model.noise_levels)


def read_sampler(path: Path) -> Sampler:
    """The sampler in a JSON file: its configuration, or a document with that under "sampler", as a run's config.json.

    Raises:
        ValueError: if the file cannot be read, is no JSON, or holds something else.
    """
    try:
        document = json.loads(path.read_text())
        made = from_config(document["sampler"] if "sampler" in document else document)  # noqa: SIM401 (any JSON)
    except OSError as error:
        raise ValueError(f"{path}: expected a JSON file; it cannot be read ({error.strerror})") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected the configuration of a sampler; {error}") from error
    if not isinstance(made, Sampler):
        raise ValueError(f"{path}: expected the configuration of a sampler; it is that of a {type(made).__name__}")
    return made


def named_sampler(request: Request, model: ScoreModel, noise: NoiseSchedule | None) -> tuple[Sampler, ScoreModel]:
    """A registered sampler with the levels that the model knows.

    Args:
        request: the name, the parameters, perhaps a number of levels.
        model: the model.
        noise: the levels that it was trained on.

    Raises:
        UsageError: if the name is unknown, or the sampler does not take what is given.
        ValueError: if the sampler needs levels and `noise` is None.
    """
    name = str(request.name)
    with usage(f"--sampler {name}"):
        takes = read_parameters(registry("samplers")[name])
    params = parse_params(request.params)
    counted = request.num_levels or request.evaluations
    if counted and ("noise" not in takes or "noise" in params):
        raise UsageError(
            f"--sampler {name}: a number of levels or evaluations is for samplers that visit noise levels, and that "
            "--param noise=... does not name already"
        )
    if "noise" in takes and "noise" not in params:
        known = _required(noise, name)
        number = request.num_levels or _affordable(request, params, model, known)
        params["noise"], model = (known, model) if number is None else spread(model, known, number)
    elif "sigma" in takes and "sigma" not in params and noise is not None:
        params["sigma"] = noise.levels()[-1].item()
    with usage(f"--sampler {name}"):
        return make("samplers", name, **params), model


def spread(model: ScoreModel, noise: NoiseSchedule, number: int) -> tuple[NoiseSchedule, ScoreModel]:
    """That many levels from the largest to the smallest of `noise`, and the model to use with them."""
    if number < 2:
        raise UsageError(f"{number} noise level: expected at least 2, the largest and the smallest")
    ends = noise.levels()
    geometric = Geometric(ends[0].item(), ends[-1].item(), number)
    table = model.noise_levels
    if table is None:
        return geometric, model
    if number > len(table):
        return geometric, RoundToLevels(model)
    places = torch.linspace(0, len(table) - 1, number).round().long()
    return _levels(table, places), model


def _affordable(request: Request, params: Mapping[str, Any], model: ScoreModel, noise: NoiseSchedule) -> int | None:
    """The largest number of levels that takes at most so many evaluations."""
    most = request.evaluations
    if most is None:
        return None

    def cost(number: int) -> int:
        levels, family = spread(model, noise, number)
        with usage(f"--sampler {request.name}"):
            sampler = make("samplers", str(request.name), **params, noise=levels)
        return evaluations_per_sample(sampler, family, event_shape(model))

    two, each = cost(2), cost(3) - cost(2)
    if most < two:
        raise UsageError(f"--evaluations {most}: {request.name} takes {two} for 2 noise levels, {each} for each more")
    return 2 + (most - two) // each


def _required(noise: NoiseSchedule | None, name: str) -> NoiseSchedule:
    if noise is None:
        raise ValueError(
            f"the checkpoint does not know its noise levels, and {name} needs some: give --param noise=..."
        )
    return noise


def _valid(model: ScoreModel, noise: NoiseSchedule) -> bool:
    try:
        model.require(noise.levels())
    except ValueError:
        return False
    return True


def _levels(table: torch.Tensor, places: torch.Tensor | slice = slice(None)) -> Levels:
    return Levels(tuple(table.double().cpu().sort(descending=True).values[places].tolist()))


def _is_file(name: str) -> bool:
    return name.endswith(".json")
