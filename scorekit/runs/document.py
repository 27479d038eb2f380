"""A run's `config.json`: components by their names and numbers. It is written by a run, and read as a recipe.

    {"recipe": "mnist-ncsn-small", "data": "mnist", "size": null, "flip": true, "dequantize": true,
     "conditional": false, "model": {...}, "estimator": {...}, "noise": {...}, "weight": null, "sampler": {...},
     "training": {...}, "num_samples": 64}

A file written by hand may have this form, or the short one, a registered recipe and what is different about it:

    {"recipe": "mnist-ncsn-small", "params": {"width": 8, "training": {"num_steps": 500}}}

Names are looked up in the registry; nothing in a file is imported or run.
"""

import json
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, final

from scorekit._kinds import brief
from scorekit.base import Sampler
from scorekit.component import suggest
from scorekit.config import Config, Json, from_config, to_config
from scorekit.data import Source
from scorekit.objective import Weight
from scorekit.preconditioned import PreconditionedWeight
from scorekit.recipes import Experiment, ImageRecipe, Recipe
from scorekit.registry import default_registry
from scorekit.training.run import CHECKPOINTS
from scorekit.training_config import TrainingConfig

CONFIG = "config.json"
_PARTS = ("model", "estimator", "noise", "sampler")
_OPTIONS = ("data", "num_samples", "size", "flip", "dequantize", "conditional")


@final
@dataclass(frozen=True)
class Written(ImageRecipe):
    """A recipe with every part written out, as a run's `config.json` has it.

    Args:
        training, data, size, flip, dequantize, num_samples: see `ImageRecipe`.
        model, estimator, noise, sampler: configurations, for `from_config`.
        weight: of the levels.
        labelled: whether the network is told each picture's label.
    """

    _: KW_ONLY
    model: Config
    estimator: Config
    noise: Config
    sampler: Config
    weight: Weight = None
    labelled: bool = False

    @property
    def conditional(self) -> bool:
        """`labelled`."""
        return self.labelled

    def experiment(self, source: Source) -> Experiment:
        """The parts, whatever the pictures; a network for others refuses the first batch."""
        parts = {name: from_config(config) for name, config in self._configs().items()}
        return Experiment(**parts, weight=self.weight)

    def _configs(self) -> dict[str, Config]:
        return {"model": self.model, "estimator": self.estimator, "noise": self.noise, "sampler": self.sampler}


def describe(recipe: Recipe, experiment: Experiment, data: str, name: str | None) -> dict[str, Json]:
    """The document of a run.

    Raises:
        TypeError: if a part is no configuration: a model around a network that is not registered, say.
    """
    parts: dict[str, Json] = {part: to_config(vars(experiment)[part]) for part in _PARTS}
    options = {"size": None, "flip": False, "dequantize": False, "conditional": False}
    if isinstance(recipe, ImageRecipe):
        options = {each: getattr(recipe, each) for each in options}
    training: Any = asdict(recipe.training)
    return {
        "recipe": name,
        "data": data,
        **options,
        **parts,
        "weight": _encode_weight(experiment.weight),
        "training": training,
        "num_samples": recipe.num_samples,
    }


def read_recipe(name: str | Path) -> Recipe:
    """The recipe of a name, or of a JSON file.

    Args:
        name: a registered name, or the path of a file that ends in `.json`.

    Raises:
        UnknownNameError: for an unknown name, with close matches.
        ValueError: if the file is not there, is no JSON, has unknown keys, or names unknown components.
        TypeError: if a value has the wrong type.
    """
    if not str(name).endswith(".json"):
        return default_registry().make("recipes", str(name))
    path = Path(name)
    try:
        return parse_recipe(read_document(path))
    except (ValueError, TypeError) as error:
        error.add_note(f"read from {path}")
        raise


def parse_recipe(document: Mapping[str, Any]) -> Recipe:
    """The recipe that a document describes, in either form.

    Raises:
        ValueError: if a name is unknown, or a number out of its range.
        TypeError: if a key is unknown or missing, or a value has the wrong type.
    """
    return _written(document) if "model" in document else _short(document)


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: if the file cannot be read, or holds something else.
    """
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"{path}: expected a JSON file; it cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON; {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected a JSON object; found {brief(document)}")
    return document


def run_config(checkpoint: str | Path) -> dict[str, Any]:
    """The `config.json` of the run that a checkpoint belongs to: OUT, OUT/checkpoint or OUT/checkpoint/step-N; {} if it
    is not there. A model saved elsewhere below a run's folder is not the run's.
    """
    path = Path(checkpoint).resolve()
    home = path.parent if path.name.startswith("step-") else path
    out = home.parent if home.name == CHECKPOINTS else home
    if not (out / CONFIG).is_file():
        return {}
    document = read_document(out / CONFIG)
    return document if "sampler" in document else {}


def sampler_for(checkpoint: str | Path) -> Sampler | None:
    """The sampler of the run that a checkpoint belongs to; None if it is not known."""
    config = run_config(checkpoint)
    return from_config(config["sampler"]) if config else None


def _short(document: Mapping[str, Any]) -> Recipe:
    _require_keys(document, {"recipe", "params"}, needed={"recipe"})
    params = dict(_mapping("params", document.get("params", {})))
    training = _mapping("training", params.pop("training", {}))
    recipe: Recipe = default_registry().make("recipes", document["recipe"], **params)
    return replace(recipe, training=_training({**asdict(recipe.training), **training}))


def _written(document: Mapping[str, Any]) -> Recipe:
    _require_keys(document, {"recipe", "weight", "training", *_PARTS, *_OPTIONS}, needed={"training", *_PARTS})
    options = {key: document[key] for key in _OPTIONS if key in document}
    for key in sorted(options.keys() & {"flip", "dequantize", "conditional"}):
        if not isinstance(options[key], bool):
            raise TypeError(f"{key} = {brief(options[key])}: expected true or false")
    labelled = options.pop("conditional", False)
    return Written(
        _training(_mapping("training", document["training"])),
        **options,
        **{part: document[part] for part in _PARTS},
        weight=_decode_weight(document.get("weight")),
        labelled=labelled,
    )


def _require_keys(document: Mapping[str, Any], known: set[str], needed: set[str]) -> None:
    for key in sorted(document.keys() - known):
        raise TypeError(f"a recipe has no key {key!r}{suggest(key, known)}; its keys are {', '.join(sorted(known))}")
    if missing := sorted(needed - document.keys()):
        raise TypeError(f"this recipe lacks {', '.join(map(repr, missing))}")


def _mapping(name: str, value: Json) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} = {brief(value)}: expected a JSON object")
    return value


def _training(values: Mapping[str, Any]) -> TrainingConfig:
    known = {field.name for field in fields(TrainingConfig)}
    for key in sorted(values.keys() - known):
        raise TypeError(f"training has no {key!r}{suggest(key, known)}; it takes {', '.join(sorted(known))}")
    given: dict[str, Any] = dict(values)
    if "betas" in given:
        if not isinstance(given["betas"], list | tuple):
            raise TypeError(f"betas = {brief(given['betas'])}: expected a list of two numbers")
        given["betas"] = tuple(given["betas"])
    return TrainingConfig(**given)


def _encode_weight(weight: Weight) -> Json:
    if isinstance(weight, PreconditionedWeight):
        return {"scale": weight.scale}
    if weight is None or isinstance(weight, str):
        return weight
    raise TypeError(f"weight = {brief(weight)} is not configuration: expected None, a name or a PreconditionedWeight")


def _decode_weight(value: Json) -> Weight:
    if isinstance(value, dict):
        scale = value.get("scale")
        if value.keys() != {"scale"} or isinstance(scale, bool) or not isinstance(scale, int | float):
            raise TypeError(f'weight = {brief(value)}: expected null, a name or {{"scale": NUMBER}}')
        return PreconditionedWeight(scale)
    if value is None or value in ("sigma^2", "sigma", "1"):
        return value
    raise ValueError(f"weight = {brief(value)}: expected null, 'sigma^2', 'sigma', '1' or {{\"scale\": ...}}")
