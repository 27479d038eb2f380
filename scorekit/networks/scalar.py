r"""Networks with one output per example, the energies of `EnergyModel`.

    ScalarMLP       E(x, sigma) = a multilayer perceptron with one output
    InnerProduct    E(x, sigma) = -1/2 <x, f(x, sigma)>          f a network for scores, <,> summed over the event

The score of the second is (f + J' x) / 2 with J the Jacobian of f in x. By Euler's theorem it is f itself wherever f is
the gradient of a function that is homogeneous of degree 2 in x: so f = -x / (1 + sigma^2) keeps its meaning, and so
does every linear f with a symmetric matrix. Salimans and Ho ("Should EBMs model the energy or the score?", 2021) make
energies of networks for scores, from the distance |x - f|^2; Du et al. (arXiv 2302.11552) compare the forms.

Nothing here makes exp(-E) integrable: far from the data E may fall, and chains that get there run away.
"""

from typing import ClassVar, Literal, final

from torch import Tensor, nn

from scorekit.base import sum_event
from scorekit.networks.mlp import Perceptron


@final
class ScalarMLP(Perceptron):
    """(x, sigma) -> `depth` hidden layers of `width` units -> one number per example; valid at every sigma >= 0.

    Args:
        event_shape: E, of rank 1 at least.
        width: units in each hidden layer.
        depth: hidden layers.
        activation: "softplus", "silu" or "tanh". Training differentiates the energy twice in x, so it must be smooth:
            the second derivative of ELU jumps at 0.
        conditional: whether sigma is an input; without it the network is one for a single level.

    Raises:
        ValueError: if a size is below 1, or the activation is unknown; when called, if x is not (B, *E) or sigma
            not (B,).
        TypeError: when called with a condition.
    """

    activations: ClassVar[tuple[str, ...]] = ("softplus", "silu", "tanh")

    def __init__(
        self,
        event_shape: tuple[int, ...],
        width: int = 128,
        depth: int = 2,
        activation: Literal["softplus", "silu", "tanh"] = "softplus",
        conditional: bool = True,
    ):
        # An energy is known up to a constant: a bias would never get a gradient, which DDP takes for a fault.
        super().__init__(event_shape, width, depth, activation, conditional, num_outputs=1, bias=False)

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """(B, *E), (B,) -> (B,)."""
        return self.outputs(x, sigma, condition).squeeze(1)


@final
class InnerProduct(nn.Module):
    """E(x, sigma) = -1/2 <x, f(x, sigma)>: an energy from a network for scores, of any event shape.

    `EnergyModel(InnerProduct(RefineNet(...)))` is an energy on images, at the levels of the RefineNet's table. The
    network sees x as it is; the product is with x itself, so data are best centred about 0.

    Args:
        net: the network f(x, sigma[, condition]), (B, *E), (B,) -> (B, *E).

    Raises:
        ValueError: when called, if the network changes the shape of x.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """(B, *E), (B,) -> (B,), in the wider of the types of x and f(x)."""
        output = self.net(x, sigma) if condition is None else self.net(x, sigma, condition)
        if output.shape != x.shape:
            raise ValueError(
                f"InnerProduct: {type(self.net).__name__} maps x of shape {tuple(x.shape)} to {tuple(output.shape)}; "
                "expected the shape of x"
            )
        return -sum_event(x * output) / 2
