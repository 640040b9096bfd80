"""The networks: the UNet with its gates, PositionNet for the boxes, the image encoder for the first frame."""

from smcd.models.image_encoder import ImageEncoder
from smcd.models.position_net import PositionNet
from smcd.models.unet import SMCDUNet3D

__all__ = ["ImageEncoder", "PositionNet", "SMCDUNet3D"]

# Saved pipelines name each class by its module: "smcd" stays true when a file moves.
for _network in (ImageEncoder, PositionNet, SMCDUNet3D):
    _network.__module__ = "smcd"
