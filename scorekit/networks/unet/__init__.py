"""A U-Net for images at every noise level."""

from scorekit.networks.unet.network import UNet

__all__ = ["UNet"]
