"""The model that training starts from: base weights, trained weights, fresh paths."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smcd.convert.base import Base, is_own
from smcd.convert.folders import DEFAULT_BASE, check_base, load_pipeline
from smcd.convert.networks import build, check_widths, unet_config
from smcd.convert.published import read_unet
from smcd.models import ImageEncoder, PositionNet, SMCDUNet3D
from smcd.pipeline import SMCDPipeline
from smcd.runtime.errors import InputError
from smcd.sprites.tiny import tiny_pipeline
from smcd.training.stages import Stage

logger = logging.getLogger(__name__)

_PATHS = {"object_gate": "an object gate", "image_gate": "an image gate", "image_concat": "a zero conv"}


def load_start(
    base: str | None,
    tokenizer: str | None,
    base_unet: str | None,
    weights: str | SMCDPipeline | None,
    position_net: bool,
    seed: int,
) -> SMCDPipeline:
    """The weights as they are found; without base and weights an untrained tiny model.

    Args:
        base: text-to-video folder (diffusers or ModelScope), pipeline folder, or hub id.
        tokenizer: folder or hub id, if it is not in the base.
        base_unet: file with the UNet, in place of the base's.
        weights: trained weights: a pipeline folder, a published folder, a hub id, or a checkpoint's pipeline.
        position_net: whether the weights must have one.
        seed: the tiny model follows from it.

    Raises:
        InputError: weights that are missing or broken.
    """
    if isinstance(weights, SMCDPipeline):
        return weights
    if weights is not None:
        return load_pipeline(weights, base or DEFAULT_BASE, tokenizer, base_unet, position_net=position_net)
    if base is None:
        if base_unet is not None:
            raise InputError(
                "pretrained_weight_path gives a UNet; the rest of the base comes from pretrained_model_path"
            )
        logger.warning(
            "training an untrained tiny model, to see that everything is in place: name real weights with "
            "--pretrained_model_path or --tune_from_ckpt_path"
        )
        return tiny_pipeline(seed, object_gate=False, image_gate=False, image_concat=False)
    source = Base.find(base, tokenizer, unet=base_unet is None)
    if is_own(source.folder):
        return load_pipeline(str(source.folder), base_unet=base_unet)
    unet = build(SMCDUNet3D, unet_config, read_unet(Path(base_unet)) if base_unet else source.unet())
    encoders = source.vae(), source.text_encoder(), source.tokenizer()
    check_base(unet, *encoders)
    return SMCDPipeline(*encoders, unet, source.scheduler())


def with_paths(
    pipe: SMCDPipeline, stage: Stage, gate_init: float, new_image_paths: bool, first_frame_only: bool, seed: int
) -> SMCDPipeline:
    """The untrained pipeline of a stage, float32: the paths that `pipe` lacks are fresh, and follow from the seed.

    Args:
        gate_init: alpha of fresh gates.
        new_image_paths: leave out the image paths of the weights.
        first_frame_only: see `image_concat_first_only` of `SMCDUNet3D`.

    Raises:
        InputError: weights that do not fit the stage, by name.
    """
    if new_image_paths:
        pipe.register_modules(unet=_without_image_paths(pipe.unet), image_encoder=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = _unet_with_paths(pipe.unet, stage, gate_init, first_frame_only)
        pipe.register_modules(unet=unet)
        if stage.object_gate and pipe.position_net is None:
            pipe.register_modules(position_net=PositionNet(unet.config.cross_attention_dim, unet.config.object_dim))
        if stage.image_gate and pipe.image_encoder is None:
            pipe.register_modules(image_encoder=_new_image_encoder(unet))
    check_widths(unet, pipe.position_net, pipe.image_encoder)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.float()
    # A new pipeline does not remember the folder that the weights came from.
    return SMCDPipeline(**pipe.components, guidance_scale=pipe.config.guidance_scale)


def _named(stage: Stage) -> str:
    """The stage, and which of the image paths it was asked for if not both."""
    if stage.name == "2" and not (stage.image_gate and stage.image_concat):
        return f"stage 2 with {'--cross_vision' if stage.image_gate else '--cat_init'} alone"
    return f"stage {stage.name}"


def _like(unet: SMCDUNet3D, **changes: Any) -> SMCDUNet3D:
    """A fresh UNet of the same config, but for `changes`."""
    own = {name: value for name, value in unet.config.items() if not name.startswith("_")}
    return SMCDUNet3D(**{**own, **changes})


def _without_image_paths(unet: SMCDUNet3D) -> SMCDUNet3D:
    """The UNet with neither image gate nor zero conv, its other weights kept."""
    with torch.device("meta"):  # nothing is drawn, nothing is held twice
        bare = _like(unet, image_gate=False, image_concat=False, image_concat_first_only=False)
    tensors = {name: tensor for name, tensor in unet.state_dict().items() if ".image_gate." not in name}
    tensors["conv_in.weight"] = tensors["conv_in.weight"][:, : bare.config.in_channels].contiguous()
    bare.load_state_dict(tensors, assign=True)
    return bare


def _unet_with_paths(unet: SMCDUNet3D, stage: Stage, gate_init: float, first_frame_only: bool) -> SMCDUNet3D:
    """The UNet with the stage's paths added; where it has weights in them already, these are kept."""
    for path, wanted in stage.paths.items():
        if unet.config[path] and not wanted:
            hint = "" if path == "object_gate" else "; --new_image_paths leaves out the weights' own"
            raise InputError(f"the weights have {_PATHS[path]}, which {_named(stage)} does not have{hint}")
    changed: dict[str, Any] = {path: wanted for path, wanted in stage.paths.items() if wanted != unet.config[path]}
    if first_frame_only and stage.image_concat:
        changed["image_concat_first_only"] = True
    if not changed:
        return unet
    grown = _like(unet, **changed)
    grown.load_base(unet.state_dict())
    for name, parameter in grown.named_parameters():
        if ".alpha_" in name and not unet.config[name.split(".")[-2]]:
            nn.init.constant_(parameter, gate_init)
    return grown


def _new_image_encoder(unet: SMCDUNet3D) -> ImageEncoder:
    """A fresh image encoder with as many levels as the UNet has, so that both end at the same size.

    The widths are of the paper's proportions: a quarter, a half, the whole width of the tokens.
    """
    width, levels = unet.config.image_token_dim, len(unet.config.block_out_channels)
    entering = (width // 4, width // 2, *[width] * levels)[: levels - 1]
    return ImageEncoder((*entering, width), in_channels=unet.config.in_channels)
