"""A training run as the files of a checkpoint, and back.

    training.safetensors   optim.<i>.<name>: Adam's state of weight i;  ema.n_averaged;
                           rng.cpu, rng.device: torch's global generators, one row a process
    training.json          step, position (examples used), configuration, the data's fingerprint (their conditions', if
                           there are any), where it ran, loss scaling

and the model's files (see `scorekit.checkpoint.model`). All that the loop itself draws is a function of the seed and
the step, both of which are here. The global generators are for networks that draw by themselves (dropout).

A resumed run goes on bit for bit on the CPU at the same number of threads. What would make it another run is an
error: another seed, batch size, optimiser, schedule, average, clipping, data, estimator, noise levels or their weights,
another network. What changes bits only is a warning: another number of threads, pieces or processes, another device,
torch version or precision.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from scorekit._kinds import brief
from scorekit.base import ScoreModel
from scorekit.checkpoint import CheckpointError, manifest, tensors
from scorekit.checkpoint.model import CONFIG, EMA, RAW, TRAINING, config_file, fill
from scorekit.checkpoint.store import Contents
from scorekit.config import to_config
from scorekit.data.sources import Source
from scorekit.training.loop import Training

STATE = "training.safetensors"
_FIXED = (
    "batch_size",
    "seed",
    "learning_rate",
    "betas",
    "adam_eps",
    "weight_decay",
    "amsgrad",
    "warmup_steps",
    "decay",
    "ema_decay",
    "ema_warmup",
    "clip_norm",
)
_FINGERPRINT_EXAMPLES = 64
_FINGERPRINT_NUMBERS = 2**20  # of conditions: labels of a million examples all count, for 40 ms a checkpoint


def snapshot(training: Training) -> dict[str, bytes] | None:
    """The files of a checkpoint of this moment; None on processes that do not write. Every process calls it.

    Raises:
        CheckpointError: if a weight is not finite: such a state must not push out a good one.
    """
    generators = _generators(training)
    if not training.is_main:
        return None
    model = training.model.state_dict()
    bad = [name for name, weight in model.items() if weight.is_floating_point() and not weight.isfinite().all()]
    if bad:
        raise CheckpointError(
            f"step {training.step}: expected finite weights; {', '.join(bad[:3])} are not. Nothing was saved"
        )
    files = {RAW: tensors.encode(model), CONFIG: _config(training.model)}
    state = {
        f"optim.{index}.{name}": value
        for index, values in training.optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    if training.ema is not None:
        files[EMA] = tensors.encode(training.best.state_dict())
        state["ema.n_averaged"] = training.ema.n_averaged
    return files | {STATE: tensors.encode(state | generators), TRAINING: _encode(_facts(training))}


def restore(training: Training, contents: Contents) -> None:
    """Put a freshly made run where a checkpoint left off.

    Raises:
        CheckpointError: if the checkpoint has no training state, or is that of another run.
    """
    path = contents.path / TRAINING
    for name in (TRAINING, STATE, RAW):
        if name not in contents.files:
            raise CheckpointError(f"{contents.path}: expected a training run's checkpoint; it has no {name}")
    facts = manifest.parse_json(path, contents.files[TRAINING])
    manifest.check_version(path, facts)
    now = json.loads(_encode(_facts(training)))
    _require_same_run(contents, facts, now)
    _warn_of_other_bits(contents, facts["runtime"], now["runtime"])
    _fill_checked(training.model, contents, RAW)
    state = tensors.decode(contents.path / STATE, contents.files[STATE])
    if training.ema is not None:
        _fill_checked(training.best, contents, EMA)
        training.ema.n_averaged.copy_(state["ema.n_averaged"])
    _restore_optimizer(training.optimizer, state)
    training.runtime.load_scaler_state(facts["scaler"])
    training.step, training.position = facts["step"], facts["position"]
    _restore_generators(training, state)


def _facts(training: Training) -> dict[str, object]:
    return {
        "format": manifest.FORMAT,
        "version": manifest.VERSION,
        "step": training.step,
        "position": training.position,
        "config": asdict(training.config),
        "weights": {name: [*map(int, weight.shape)] for name, weight in training.parameters.items()},
        "data": _fingerprint(training.source),
        "objective": {
            "estimator": _described(training.objective.estimator),
            "noise": _described(training.objective.noise),
            "level weights": training.objective.level_weights.tolist(),
        },
        "scaler": training.runtime.scaler_state(),
        "runtime": {
            "threads": torch.get_num_threads(),
            "processes": training.runtime.num_processes,
            "accumulate": training.config.accumulate,
            "precision": training.config.precision,
            "device": training.runtime.device.type,
            "torch": str(torch.__version__),
        },
    }


def _encode(facts: Mapping[str, object]) -> bytes:
    return json.dumps(facts, indent=1, allow_nan=False).encode() + b"\n"


def _described(part: object) -> object:
    """Its configuration; of one that has none, the type's name alone."""
    try:
        return to_config(part)
    except (TypeError, ValueError):
        return f"{type(part).__module__}.{type(part).__qualname__}"


def _config(model: ScoreModel) -> bytes:
    try:
        return config_file(to_config(model))
    except (
        TypeError,
        ValueError,
    ) as error:  # a model of one's own: its script makes it, and `load(..., into=model)` fills it
        return config_file(None, reason=str(error))


def _fingerprint(source: Source) -> dict[str, object]:
    """What tells data sets apart: length, transform, a digest of examples all over; of a stream, its transform.

    And where there are conditions, a digest of them: of all that a million numbers hold, else of rows all over.
    """
    known: dict[str, object] = {"num_examples": source.num_examples, "transform": repr(source.transform)}
    if source.num_examples is not None:
        count = min(source.num_examples, _FINGERPRINT_EXAMPLES)
        chosen = torch.linspace(0, source.num_examples - 1, count, dtype=torch.float64).long()
        first, second = _digest_of_examples(source, chosen), _digest_of_examples(source, chosen)
        known["examples"] = first if first == second else "drawn anew each time"
        first_row = source.condition(chosen[:1])
        if first_row is not None:  # else no entry, as in the checkpoints of unconditional runs
            known["condition"] = _digest_of_conditions(source, source.num_examples, first_row.numel())
    return known


def _digest_of_conditions(source: Source, num_examples: int, row_size: int) -> str | None:
    count = min(num_examples, max(1, _FINGERPRINT_NUMBERS // row_size))
    rows = source.condition(torch.arange(count) * num_examples // count)
    return None if rows is None else _digest(rows)


def _digest_of_examples(source: Source, chosen: Tensor) -> str:
    """The same each time also for data that draw from torch's generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        examples = source.take(chosen)
    return _digest(examples)


def _digest(rows: Tensor) -> str:
    """Type, shape and SHA-256."""
    rows = rows.cpu().contiguous()
    digest = hashlib.sha256(rows.view(torch.uint8).numpy().tobytes()).hexdigest()
    return f"{rows.dtype} {tuple(rows.shape[1:])} sha256:{digest}"


def _require_same_run(contents: Contents, saved: Mapping, now: Mapping) -> None:
    fixed = _FIXED if now["config"]["decay"] == "constant" else (*_FIXED, "num_steps")
    pairs = [(name, saved["config"].get(name), now["config"][name]) for name in fixed]
    pairs += [
        (f"data {name}", saved["data"].get(name), now["data"].get(name)) for name in saved["data"] | now["data"]
    ]  # of both: a run without conditions is no resumption of one with them
    known = saved.get("objective", now["objective"])  # the first checkpoints did not say
    pairs += [(name, known.get(name), value) for name, value in now["objective"].items()]
    pairs += [("weights", saved["weights"], now["weights"])]
    differing = [f"{name}: saved {brief(old)}, now {brief(new)}" for name, old, new in pairs if old != new]
    if differing:
        raise CheckpointError(
            f"{contents.path}: expected the same run to go on; {'; '.join(differing)}. For another run that starts "
            "from these weights, load the model and train it into another folder"
        )


def _warn_of_other_bits(contents: Contents, saved: Mapping, now: Mapping) -> None:
    differing = [
        f"{name}: saved {saved.get(name)!r}, now {value!r}" for name, value in now.items() if saved.get(name) != value
    ]
    if differing:
        warnings.warn(f"{contents.path}: the run goes on, but not bit for bit ({'; '.join(differing)})", stacklevel=2)


def _fill_checked(model: ScoreModel, contents: Contents, name: str) -> None:
    path = contents.path / name
    state = tensors.decode(path, contents.files[name])
    for key, tensor in model.state_dict().items():
        if key in state and state[key].dtype != tensor.dtype:
            raise CheckpointError(
                f"{path}: expected {key} in {tensor.dtype}, as the model has it; found {state[key].dtype}"
            )
    fill(model, state, path)


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    found: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        kind, _, rest = key.partition(".")
        if kind == "optim":
            index, _, name = rest.partition(".")
            found.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": found, "param_groups": optimizer.state_dict()["param_groups"]})


def _generators(training: Training) -> dict[str, Tensor]:
    """torch's global generators of all processes, one row for each."""
    states = {"rng.cpu": torch.get_rng_state()}
    if training.runtime.device.type == "cuda":
        states["rng.device"] = torch.cuda.get_rng_state(training.runtime.device)
    return {name: training.runtime.gather(state) for name, state in states.items()}


def _restore_generators(training: Training, state: Mapping[str, Tensor]) -> None:
    """Each process takes its own; processes that the saved run did not have keep theirs."""
    rank = training.runtime.rank
    if rank < len(state["rng.cpu"]):
        torch.set_rng_state(state["rng.cpu"][rank])
        if training.runtime.device.type == "cuda" and "rng.device" in state:
            torch.cuda.set_rng_state(state["rng.device"][rank], training.runtime.device)
