"""The networks: the UNet with its gates, PositionNet for the boxes, the image encoder for the first frame."""

from diffusers import ModelMixin

from smcd.models.attention import KeyValueCache
from smcd.models.image_encoder import ImageEncoder
from smcd.models.layout import use_channels_last
from smcd.models.position_net import PositionNet
from smcd.models.unet import SMCDUNet3D, without_temporal_layers

# A saved pipeline names each class by its module, and diffusers looks there for ModelMixin too: "smcd.models" stays
# true when a file moves.
__all__ = [
    "ImageEncoder",
    "KeyValueCache",
    "ModelMixin",
    "PositionNet",
    "SMCDUNet3D",
    "use_channels_last",
    "without_temporal_layers",
]
for _network in (ImageEncoder, PositionNet, SMCDUNet3D):
    _network.__module__ = __name__
