"""The model that training starts from: base weights, trained weights, fresh paths."""

import logging
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Start:
    """Where the weights come from, and how fresh ones begin.

    Attributes:
        base: text-to-video folder (diffusers or ModelScope), pipeline folder, or hub id; with neither base nor weights
            an untrained tiny model is trained, to see that everything is in place.
        tokenizer: folder or hub id, if it is not in the base.
        base_unet: file with the UNet, in place of the base's.
        weights: trained weights: a pipeline folder, a published folder, a hub id, or a checkpoint's pipeline.
        new_position_net: start with a fresh PositionNet if the weights have none.
        new_image_paths: leave out the image paths of the weights.
        image_concat_first_only: see `SMCDUNet3D`.
        gate_init: alpha of fresh gates.
        seed: fresh weights follow from it.
    """

    base: str | None = None
    tokenizer: str | None = None
    base_unet: str | None = None
    weights: str | SMCDPipeline | None = None
    new_position_net: bool = False
    new_image_paths: bool = False
    image_concat_first_only: bool = False
    gate_init: float = 0.0
    seed: int = 33

    @property
    def is_tiny(self) -> bool:
        """Whether no model is named, so that the built-in one is trained."""
        return self.base is None and self.weights is None


def build_start(start: Start, stage: Stage) -> tuple[SMCDPipeline, bool]:
    """The untrained pipeline of a run, float32, on the CPU; and whether its PositionNet is fresh.

    Raises:
        InputError: weights that are missing, or do not fit the stage, by name.
    """
    pipe = _load(start)
    fresh = stage.object_gate and pipe.position_net is None
    # Stage 1 trains a PositionNet from nothing; stage 2 does so only if it is told to.
    may_be_fresh = start.new_position_net or start.is_tiny or (stage.name == "1" and start.weights is None)
    if fresh and not may_be_fresh:
        raise InputError(
            f"stage {stage.name} starts from weights with a PositionNet: give the result of stage 1, "
            "--tune_from_ckpt_path; or ask for a fresh one, --new_position_net"
        )
    if start.new_image_paths:
        pipe.register_modules(unet=_without_image_paths(pipe.unet), image_encoder=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(start.seed)
        unet = _with_paths(pipe.unet, stage, start)
        pipe.register_modules(unet=unet)
        if fresh:
            pipe.register_modules(position_net=PositionNet(unet.config.cross_attention_dim, unet.config.object_dim))
        if stage.image_gate and pipe.image_encoder is None:
            pipe.register_modules(image_encoder=_new_image_encoder(unet))
    check_widths(unet, pipe.position_net, pipe.image_encoder)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.float()
    # A new pipeline does not remember the folder that the weights came from.
    return SMCDPipeline(**pipe.components, guidance_scale=pipe.config.guidance_scale), fresh


def _load(start: Start) -> SMCDPipeline:
    """The weights as they are found, the UNet without the paths that are to come."""
    base, tokenizer, base_unet, weights = start.base, start.tokenizer, start.base_unet, start.weights
    if isinstance(weights, SMCDPipeline):
        return weights
    if weights is not None:
        return load_pipeline(
            weights, base or DEFAULT_BASE, tokenizer, base_unet, position_net=not start.new_position_net
        )
    if base is None:
        if base_unet is not None:
            raise InputError(
                "pretrained_weight_path gives a UNet; the rest of the base comes from pretrained_model_path"
            )
        logger.warning(
            "no --pretrained_model_path, no --tune_from_ckpt_path: training a tiny untrained model, to see that "
            "everything is in place"
        )
        return tiny_pipeline(start.seed, object_gate=False, image_gate=False, image_concat=False)
    source = Base.find(base, tokenizer, unet=base_unet is None)
    if is_own(source.folder):
        return load_pipeline(str(source.folder), base_unet=base_unet)
    unet = build(SMCDUNet3D, unet_config, read_unet(Path(base_unet)) if base_unet else source.unet())
    encoders = source.vae(), source.text_encoder(), source.tokenizer()
    check_base(unet, *encoders)
    return SMCDPipeline(*encoders, unet, source.scheduler())


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


def _with_paths(unet: SMCDUNet3D, stage: Stage, start: Start) -> SMCDUNet3D:
    """The UNet with the stage's paths added; where it has weights in them already, these are kept."""
    for path, wanted in stage.paths.items():
        if unet.config[path] and not wanted:
            hint = "" if path == "object_gate" else "; --new_image_paths leaves out the weights' own"
            raise InputError(f"the weights have {_PATHS[path]}, which {_named(stage)} does not have{hint}")
    changed: dict[str, Any] = {path: wanted for path, wanted in stage.paths.items() if wanted != unet.config[path]}
    if start.image_concat_first_only and stage.image_concat:
        changed["image_concat_first_only"] = True
    if not changed:
        return unet
    grown = _like(unet, **changed)
    grown.load_base(unet.state_dict())
    for name, parameter in grown.named_parameters():
        if ".alpha_" in name and not unet.config[name.split(".")[-2]]:
            nn.init.constant_(parameter, start.gate_init)
    return grown


def _new_image_encoder(unet: SMCDUNet3D) -> ImageEncoder:
    """A fresh image encoder with as many levels as the UNet has, so that both end at the same size.

    The widths are of the paper's proportions: a quarter, a half, the whole width of the tokens.
    """
    width, levels = unet.config.image_token_dim, len(unet.config.block_out_channels)
    entering = (width // 4, width // 2, *[width] * levels)[: levels - 1]
    return ImageEncoder((*entering, width), in_channels=unet.config.in_channels)
