"""Checks of modules: networks, and the score models made of them.

They take a factory, since some laws need a second instance of the same configuration.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from scorekit.base import Generator, ScoreModel
from scorekit.testing.families import check_moments_shape, check_target
from scorekit.testing.trial import ConformanceError, Rows, Trial, configuration, difference, lawful

ModuleT = TypeVar("ModuleT", bound=nn.Module)
_OUTPUTS = ("score", "energy", "logits")


def check_network(
    make: Callable[[], nn.Module],
    *,
    event_shape: tuple[int, ...],
    output: Literal["score", "energy", "logits"] = "score",
    levels: Sequence[float] = (1.0, 0.3),
) -> None:
    """The laws of a network f(x, sigma).

    Its output has the type of x, and the shape of x; or one number a row for an energy; or (B, K) with K >= 2 classes
    for logits. In evaluation mode a row depends on no other row; every parameter is reached by the gradient; its
    configuration makes a network that takes its weights.

    Args:
        make: () -> the network.
        event_shape: E.
        output: what it is for: a score, an energy, or the logits of a classifier.
        levels: noise levels at which it is valid.

    Raises:
        ConformanceError: naming the law that is broken.
        ValueError: if `output` is none of these.
    """
    if output not in _OUTPUTS:
        raise ValueError(f"check_network(output={output!r}): expected one of {', '.join(map(repr, _OUTPUTS))}")
    net = _made(make)
    trial = Trial("check_network", net)
    for dtype in (torch.float64, torch.float32):
        x = trial.rows(event_shape, dtype=dtype) / 3
        with torch.no_grad():
            value = net.to(dtype).eval()(x, _levels(x, levels))
        trial.shape(value, _expected_shape(output, x, value), "the output")
        trial.type(value, x, "the output")
    _check_module(trial, net.double(), event_shape, levels)


def check_model(
    make: Callable[[], ScoreModel],
    *,
    event_shape: tuple[int, ...],
    levels: Sequence[float] = (1.0, 0.3),
    configurable: bool = True,
) -> None:
    """The laws of a score model: those of a network and of a family of targets, and that the two agree.

    `at(sigma)` gives the score that `forward` gives at sigma for every row; a log density, if there is one, is its
    potential; `min_sigma` and `noise_levels` admit the levels; the moments travel with the weights.

    Args:
        make: () -> the model.
        event_shape: E.
        levels: noise levels at which it is valid.
        configurable: False if it is around a network that has no configuration.

    Raises:
        ConformanceError: naming the law that is broken.
    """
    model = _made(make)
    trial = Trial("check_model", model)
    for dtype in (torch.float32, torch.float64):
        x = trial.rows(event_shape, dtype=dtype) / 3
        model.to(dtype)
        with model.evaluating():
            score = model(x, _levels(x, levels)).detach()
        trial.shape(score, tuple(x.shape), "the score")
        trial.type(score, x, "the score")
    model.require(torch.tensor(levels, dtype=torch.float64))
    for sigma in levels:
        check_target(trial, model, trial.rows(event_shape) / 3, sigma)
        _check_at(trial, model, event_shape, sigma)
    _check_module(trial, model, event_shape, levels, configurable=configurable)
    _check_moments(trial, make, model, event_shape)


def _made(make: Callable[[], ModuleT]) -> ModuleT:
    """A module with the weights of a seed; the global random state stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def _expected_shape(output: str, x: Tensor, value: Tensor) -> tuple[int, ...]:
    """That of the output; the logits' own number of classes, if there are two at least."""
    shapes = {"score": tuple(x.shape), "energy": (len(x),), "logits": (len(x), max((2, *value.shape[1:2])))}
    return shapes[output]


def _levels(x: Tensor, levels: Sequence[float]) -> Tensor:
    """Each row its own, one after the other."""
    return x.new_tensor([levels[i % len(levels)] for i in range(len(x))])


def _check_module(
    trial: Trial,
    module: nn.Module,
    event: tuple[int, ...],
    levels: Sequence[float],
    *,
    configurable: bool = True,
) -> None:
    """The laws that a network and a model share, in double precision."""
    module.eval()

    def call(rows: Rows, generator: Generator) -> Rows:
        return (module(*rows).detach(),)

    x = trial.rows(event) / 3
    lawful(trial, call, (x, _levels(x, levels)), draws=False)
    module.train()
    module.zero_grad()
    module(x, _levels(x, levels)).square().sum().backward()
    unreached = [name for name, each in module.named_parameters() if each.requires_grad and each.grad is None]
    trial.require(
        not unreached,
        "the gradient reaches every parameter",
        f"none for {', '.join(unreached[:4])}",
        "a gradient for each",
        "a layer that is made and not called, or detach() on the way",
    )
    if configurable:
        twin = configuration(trial)
        if isinstance(twin, nn.Module):
            _check_twin(trial, module.eval(), twin.double().eval(), x, _levels(x, levels))


def _check_twin(trial: Trial, module: nn.Module, twin: nn.Module, x: Tensor, sigma: Tensor) -> None:
    mine = {name: tuple(each.shape) for name, each in module.state_dict().items()}
    theirs = {name: tuple(each.shape) for name, each in twin.state_dict().items()}
    hint = "an argument that is not kept as it was given"
    trial.require(mine == theirs, "the configuration makes the same module", f"{theirs}"[:200], f"{mine}"[:200], hint)
    twin.load_state_dict(module.state_dict())
    found = difference(twin(x, sigma).detach(), module(x, sigma).detach())
    trial.error(found, "with its weights the made module is this one", hint)


def _check_at(trial: Trial, model: ScoreModel, event: tuple[int, ...], sigma: float) -> None:
    x = trial.rows(event) / 3
    with model.evaluating(), torch.no_grad():
        by_forward = model(x, x.new_full((len(x),), sigma))
        by_target = model.at(sigma).score(x)
    trial.error(
        difference(by_target, by_forward),
        f"at({sigma:g}).score is forward",
        "an index for a level, or `at` of another parametrisation",
    )
    if model.inference_mode:
        law, hint = "inference_mode tells the truth", "autograd inside the model: let inference_mode be False"
        try:
            with model.evaluating(), torch.inference_mode():
                inferred = model.at(sigma).score(x.clone())
        except RuntimeError as error:
            raise ConformanceError(
                trial.title, law, f"{error}", "the score under torch.inference_mode", hint
            ) from error
        trial.error(difference(inferred.clone(), by_target), law, hint)


def _check_moments(trial: Trial, make: Callable[[], ScoreModel], model: ScoreModel, event: tuple[int, ...]) -> None:
    mean, std = torch.full(event, 0.25, dtype=torch.float64), torch.full(event, 2.0, dtype=torch.float64)
    model.set_moments(mean, std)
    check_moments_shape(trial, model, event)
    twin = _made(make).to(torch.float64)
    twin.load_state_dict(model.state_dict())
    kept = twin.moments
    trial.require(
        kept is not None and torch.equal(kept[0], mean) and torch.equal(kept[1], std),
        "the moments travel with the weights",
        f"{None if kept is None else 'other numbers'}",
        "those that were set",
        "a state_dict or a `moments` of one's own",
    )
