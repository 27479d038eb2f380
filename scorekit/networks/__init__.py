"""Networks: `nn.Module`s that map (x, sigma) to the shape of x, or to one number per example; a score model wraps
them."""

from scorekit.networks.mlp import MLP
from scorekit.networks.refinenet import RefineNet
from scorekit.networks.scalar import InnerProduct, ScalarMLP

__all__ = ["MLP", "InnerProduct", "RefineNet", "ScalarMLP"]
