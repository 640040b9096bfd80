"""The model that training starts from: base weights, trained weights, fresh paths."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smcd.config import TrainConfig
from smcd.convert.base import Base, is_own, read_unet
from smcd.convert.folders import DEFAULT_BASE, check_base, load_pipeline
from smcd.convert.networks import build, check_widths, unet_config
from smcd.models import ImageEncoder, PositionNet, SMCDUNet3D
from smcd.pipeline import SMCDPipeline
from smcd.runtime.built_in import BUILT_IN
from smcd.runtime.errors import InputError
from smcd.runtime.hashes import weights_hash
from smcd.sprites.tiny import tiny_pipeline
from smcd.training.stages import Stage

logger = logging.getLogger(__name__)

_PATHS = {"object_gate": "an object gate", "image_gate": "an image gate", "image_concat": "a zero conv"}


def build_start(config: TrainConfig, stage: Stage) -> tuple[SMCDPipeline, bool]:
    """The untrained pipeline of a run, float32, on the CPU; and whether its PositionNet is fresh.

    Fresh weights follow from `config.seed`.

    Raises:
        InputError: weights that are missing, or do not fit the stage, by name.
    """
    parts = _parts(config, stage)
    had_position_net = parts.get("position_net") is not None
    if stage.object_gate and not had_position_net and not _may_be_fresh(config, stage):
        raise InputError(
            f"stage {stage.name} starts from weights with a PositionNet: give the result of stage 1, "
            "--tune_from_ckpt_path; or ask for a fresh one, --new_position_net"
        )
    if config.new_image_paths:
        parts |= {"unet": _without_image_paths(parts["unet"]), "image_encoder": None}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        parts["unet"] = unet = _with_paths(parts["unet"], stage, config)
        if stage.object_gate and not had_position_net:
            parts["position_net"] = PositionNet(unet.config.cross_attention_dim, unet.config.object_dim)
        if stage.image_gate and parts.get("image_encoder") is None:
            parts["image_encoder"] = _new_image_encoder(unet)
    check_widths(unet, parts.get("position_net"), parts.get("image_encoder"))
    for part in parts.values():
        if isinstance(part, nn.Module):
            part.float()
    height, width = _frame_size(config)
    parts |= {"frame_height": height, "frame_width": width}
    if config.validation_data.guidance_scale is not None:
        parts["guidance_scale"] = config.validation_data.guidance_scale  # what its sample videos were made with
    return SMCDPipeline(**parts), stage.object_gate and not had_position_net


def frozen_hash(pipe: SMCDPipeline, trained: Collection[str]) -> str:
    """A hash of all weights that do not train; `trained` are names as in `TrainedNetworks`."""
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    frozen = {
        f"{part}.{name.removeprefix('text_model.')}": tensor  # which not all versions of transformers have
        for part in parts
        for name, tensor in parts[part].state_dict().items()
        if f"{part}.{name}" not in trained
    }
    return weights_hash(frozen, rounded=True)


def _frame_size(config: TrainConfig) -> tuple[int, int]:
    """Height and width of the training's frames."""
    data = config.train_data
    if data.name == "gligen":
        largest = max((some.image_size for some in data.dataset_names.values()), default=data.height)
        return largest, largest
    return data.height, data.width


def _parts(config: TrainConfig, stage: Stage) -> dict[str, Any]:
    """The pipeline's parts as they are found, the UNet without the paths that are to come; and its text guidance."""
    base = config.root_path or config.pretrained_model_path
    tokenizer = config.tokenizer or (config.pretrained_model_path if config.root_path else None)
    if config.tune_from_ckpt_path is not None:
        return _trained_parts(config, config.tune_from_ckpt_path, base, tokenizer)
    if base is None:
        if config.pretrained_weight_path is not None:
            raise InputError(
                "pretrained_weight_path gives a UNet; the rest of the base comes from pretrained_model_path"
            )
        return _parts_of(tiny_pipeline(config.seed, object_gate=False, image_gate=False, image_concat=False))
    source = Base.find(base, tokenizer, unet=config.pretrained_weight_path is None)
    if is_own(source.folder):
        return _parts_of(load_pipeline(str(source.folder), base_unet=config.pretrained_weight_path))
    tensors = read_unet(Path(config.pretrained_weight_path)) if config.pretrained_weight_path else source.unet()
    parts = {"vae": source.vae(), "text_encoder": source.text_encoder(), "tokenizer": source.tokenizer()}
    parts |= {"unet": build(SMCDUNet3D, unet_config, tensors), "scheduler": source.scheduler()}
    check_base(parts["unet"], parts["vae"], parts["text_encoder"], parts["tokenizer"])
    return parts


def _trained_parts(config: TrainConfig, weights: str, base: str | None, tokenizer: str | None) -> dict[str, Any]:
    from smcd.training.export import find_checkpoint, load_checkpoint  # which rebuilds a start of its own

    checkpoint = None if weights in BUILT_IN else find_checkpoint(Path(weights))
    if checkpoint is not None:
        if config.pretrained_weight_path is not None:
            logger.warning(f"{checkpoint}: knows its own base; --pretrained_weight_path is not used")
        return _parts_of(load_checkpoint(checkpoint))
    needs_position_net = not config.new_position_net
    pipe = load_pipeline(
        weights, base or DEFAULT_BASE, tokenizer, config.pretrained_weight_path, position_net=needs_position_net
    )
    return _parts_of(pipe)


def _parts_of(pipe: SMCDPipeline) -> dict[str, Any]:
    return {**pipe.components, "guidance_scale": pipe.config.guidance_scale}


def is_tiny(config: TrainConfig) -> bool:
    """Whether no model is named, so that the built-in one is trained."""
    return not any((config.pretrained_model_path, config.root_path, config.tune_from_ckpt_path))


def _may_be_fresh(config: TrainConfig, stage: Stage) -> bool:
    """Stage 1 trains a PositionNet from nothing; stage 2 does so if told, and in the tiny model."""
    return config.new_position_net or is_tiny(config) or (stage.name == "1" and config.tune_from_ckpt_path is None)


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


def _with_paths(unet: SMCDUNet3D, stage: Stage, config: TrainConfig) -> SMCDUNet3D:
    """The UNet with the stage's paths added; its own weights in them are kept."""
    for path, wanted in stage.paths.items():
        if unet.config[path] and not wanted:
            hint = "" if path == "object_gate" else "; --new_image_paths leaves out the weights' own"
            raise InputError(f"the weights have {_PATHS[path]}, which {_named(stage)} does not have{hint}")
    changed: dict[str, Any] = {path: wanted for path, wanted in stage.paths.items() if wanted != unet.config[path]}
    if config.only_cat_first_frame and stage.image_concat:
        changed["image_concat_first_only"] = True
    if not changed:
        return unet
    grown = _like(unet, **changed)
    grown.load_base(unet.state_dict())
    for name, parameter in grown.named_parameters():
        if ".alpha_" in name and not unet.config[name.split(".")[-2]]:
            nn.init.constant_(parameter, config.gate_init)
    return grown


def _new_image_encoder(unet: SMCDUNet3D) -> ImageEncoder:
    """With a level for each of the UNet's, so that both end at the same size: 16 tokens for the full model's size.

    The widths are the paper's: a quarter, a half, the whole width of the tokens.
    """
    width, levels = unet.config.image_token_dim, len(unet.config.block_out_channels)
    channels = (width // 4, width // 2, *[width] * levels)[: levels - 1]
    return ImageEncoder((*channels, width), in_channels=unet.config.in_channels)
