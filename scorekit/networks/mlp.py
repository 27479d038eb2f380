r"""A multilayer perceptron for toy densities, on events of any shape.

The noise level enters as one more input, c = log(sigma^2 + sigma_0^2) / 2 with sigma_0 = 1e-3: the logarithm of
sigma wherever that matters, and finite at sigma = 0, so that estimators that need no noise can train on clean data.

A condition is added to the first layer before its activation: a vector as if it were more inputs, a label as a row of
a table, which is the same for its one-hot vector.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from scorekit._kinds import require_kind
from scorekit.networks.embedding import embed_condition, make_condition_embedding

_SIGMA_0 = 1e-3
_ACTIVATIONS = {"softplus": nn.Softplus, "silu": nn.SiLU, "elu": nn.ELU, "tanh": nn.Tanh}


class Perceptron(nn.Module, ABC):
    """`depth` hidden layers of `width` units over x and the noise level, and a linear layer: a network's body.

    Args:
        event_shape: E, of rank 1 at least.
        width: units in each hidden layer.
        depth: hidden layers.
        activation: one of `activations`.
        conditional: whether sigma is an input.
        num_outputs: units of the last layer; None for as many as an event has numbers.
        bias: whether the last layer adds a constant.
        num_classes: of the labels (B,) that are its conditions; None for no labels.
        condition_dim: D, of the vectors (B, D) that are its conditions; None for no vectors.

    Raises:
        TypeError: if the event's shape is no sequence.
        ValueError: if a size is below 1, the activation is not one of these, or both kinds of conditions are asked for.
    """

    activations: ClassVar[tuple[str, ...]] = tuple(_ACTIVATIONS)
    """The names of those it may have."""

    def __init__(
        self,
        event_shape: tuple[int, ...],
        width: int,
        depth: int,
        activation: str,
        conditional: bool,
        num_outputs: int | None = None,
        bias: bool = True,
        num_classes: int | None = None,
        condition_dim: int | None = None,
    ):
        super().__init__()
        title = type(self).__name__
        require_kind(title, Sequence, "(2,), say", event_shape=event_shape)
        event_shape = tuple(event_shape)
        if not event_shape or min(*event_shape, width, depth) < 1:
            raise ValueError(
                f"{title}(event_shape={event_shape}, width={width}, depth={depth}): every size must be >= 1"
            )
        if activation not in self.activations:
            raise ValueError(
                f"{title}(activation={activation!r}): expected one of {', '.join(map(repr, self.activations))}"
            )
        self.event_shape, self.width, self.depth = event_shape, width, depth
        self.activation, self.conditional = activation, conditional
        self.num_classes, self.condition_dim = num_classes, condition_dim
        size = math.prod(event_shape)
        sizes = [size + conditional, *[width] * depth]
        hidden = [part for ends in pairwise(sizes) for part in (nn.Linear(*ends), _ACTIVATIONS[activation]())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, size if num_outputs is None else num_outputs, bias))
        self.condition_embedding = make_condition_embedding(title, width, num_classes, condition_dim)

    @abstractmethod
    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """The outputs, in the network's own shape."""

    @final
    def outputs(self, x: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        """(B, *E), (B,) -> (B, num_outputs).

        Raises:
            ValueError: if x is not (B, *E), sigma not (B,), or the condition of the wrong shape or no class.
            TypeError: if there is a condition that it was not made for, or none where it was.
        """
        title = type(self).__name__
        told = embed_condition(title, self.condition_embedding, condition, x)
        if x.shape[1:] != self.event_shape:
            shape = ", ".join(map(str, self.event_shape))
            raise ValueError(f"{title}: x of shape {tuple(x.shape)}, expected (B, {shape})")
        if sigma.shape != x.shape[:1]:
            raise ValueError(f"{title}: sigma of shape {tuple(sigma.shape)}, expected (B,) = {tuple(x.shape[:1])}")
        inputs = x.flatten(1)
        if self.conditional:
            level = torch.log(sigma.square() + _SIGMA_0**2) / 2
            inputs = torch.cat((inputs, level.to(x.dtype).unsqueeze(1)), dim=1)
        if told is None:
            return self.layers(inputs)
        return self.layers[1:](self.layers[0](inputs) + told)


@final
class MLP(Perceptron):
    """(x, sigma) -> `depth` hidden layers of `width` units -> the shape of x; valid at every sigma >= 0.

    With `event_shape=(2,), conditional=False` it is the NCSN paper's toy network, 2 -> 128 -> 128 -> 2 with softplus.

    Args:
        event_shape: E, of rank 1 at least.
        width: units in each hidden layer.
        depth: hidden layers.
        activation: "softplus", "silu", "elu" or "tanh".
        conditional: whether sigma is an input; without it the network is one for a single level.
        num_classes: of the labels (B,) that it is called with as `condition`; None for no labels.
        condition_dim: D, of the vectors (B, D) that it is called with as `condition`; None for no vectors.

    Raises:
        ValueError: if a size is below 1, the activation is unknown, or both kinds of conditions are asked for; when
            called, if x is not (B, *E), sigma not (B,), or the condition of the wrong shape or no class.
        TypeError: when called with a condition that it was not made for, or without the one it was made for.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        width: int = 128,
        depth: int = 2,
        activation: Literal["softplus", "silu", "elu", "tanh"] = "softplus",
        conditional: bool = True,
        num_classes: int | None = None,
        condition_dim: int | None = None,
    ):
        super().__init__(
            event_shape, width, depth, activation, conditional, num_classes=num_classes, condition_dim=condition_dim
        )

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """(B, *E), (B,) -> (B, *E)."""
        return self.outputs(x, sigma, condition).reshape(x.shape)
