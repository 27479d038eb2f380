"""RefineNets for scores of images: NCSN's, its single-noise baseline, and NCSNv2's."""

from scorekit.networks.refinenet.baseline import RefineNetBaseline
from scorekit.networks.refinenet.conditional import RefineNet
from scorekit.networks.refinenet.ncsnv2 import NCSNv2, NCSNv2Deeper, NCSNv2Deepest

__all__ = ["NCSNv2", "NCSNv2Deeper", "NCSNv2Deepest", "RefineNet", "RefineNetBaseline"]
