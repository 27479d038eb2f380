"""Networks: `nn.Module`s that map (x, sigma) to the shape of x, to one number per example, or to a number for each
class; a score model wraps the first two."""

from scorekit.networks.classifier import ConvClassifier
from scorekit.networks.mlp import MLP
from scorekit.networks.refinenet import NCSNv2, NCSNv2Deeper, NCSNv2Deepest, RefineNet, RefineNetBaseline
from scorekit.networks.scalar import InnerProduct, ScalarMLP
from scorekit.networks.unet import UNet

__all__ = [
    "MLP", "ConvClassifier", "InnerProduct", "NCSNv2", "NCSNv2Deeper", "NCSNv2Deepest", "RefineNet",
    "RefineNetBaseline", "ScalarMLP", "UNet",
]  # fmt: skip
