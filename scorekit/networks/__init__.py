"""Networks: `nn.Module`s that map (x, sigma) to the shape of x; a score model wraps them."""

from scorekit.networks.mlp import MLP
from scorekit.networks.refinenet import RefineNet

__all__ = ["MLP", "RefineNet"]
