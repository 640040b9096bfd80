"""What each stage trains, drops and sees: the one place that says so (SMCD, ECCV 2024, section 4).

| stage | data | UNet's parts that train | other networks that train | dropped, for guidance |
|---|---|---|---|---|
| 1 | single images, temporal layers bypassed | object gates | PositionNet | caption 0.5, boxes 0.1 |
| 2 | videos | image gates, conv_in, inner blocks of the temporal transformers | image encoder; a fresh PositionNet | boxes 0.1; image and image tokens with --use_img_free_guidance |
| base | videos, or single images with temporal layers bypassed | everything | text encoder with --train_text_encoder | caption 0.1 |

Drops are drawn for each sample on its own; the published code draws once per batch, with the same probabilities.
"""  # noqa: E501 (a table)

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from smcd.config import DataConfig, StageOptions
from smcd.convert.names import published_names
from smcd.models import SMCDUNet3D
from smcd.runtime.errors import InputError

_TRAINS = {  # patterns in the UNet's tensor names
    "1": r"\.object_gate\.",
    # Of a temporal transformer the inner blocks train, not its norm and projections, and nothing of `transformer_in`.
    "2": r"\.image_gate\.|^conv_in\.|\.temp_attentions\.\d+\.transformer_blocks\.",
    "base": "",
}
# `trainable_modules` of the published configs, in published names: they mean the stage itself.
_PUBLISHED_LISTS = {
    frozenset({"position_net", "gate_attn"}): "1",
    frozenset({"gate_attn.cross", "gate_attn.v", "2.transformer_blocks", "input_blocks.0.0"}): "2",
}
_TEMPORAL = r"^transformer_in\.|\.temp_convs\.|\.temp_attentions\."


@dataclass(frozen=True)
class Drops:
    """How often a sample goes without a condition; what "without" means: `Conditions.drop`."""

    text: float = 0.0
    boxes: float = 0.0
    image: float = 0.0  # the concatenated latents
    image_tokens: float = 0.0  # the image encoder's input


@dataclass(frozen=True)
class Stage:
    """A stage of training: what its UNet has, what trains, and what is dropped."""

    name: str  # "1", "2" or "base"
    object_gate: bool
    image_gate: bool
    image_concat: bool
    temporal: bool  # False bypasses every temporal layer
    drops: Drops
    modules: tuple[str, ...] = ()  # train what has one of these in its name, instead of what the stage trains
    text_encoder: bool = False  # whether it trains

    @property
    def paths(self) -> dict[str, bool]:
        return {name: getattr(self, name) for name in ("object_gate", "image_gate", "image_concat")}

    @property
    def conditions(self) -> dict[str, bool]:
        """Which are given beside the text, named as in `Conditions.drop`."""
        return {"boxes": self.object_gate, "image": self.image_gate or self.image_concat}


def stage_of(options: StageOptions) -> Stage:
    """The stage that is named, or that the flags of the published commands mean.

    Raises:
        InputError: settings that name no stage, or do not go together.
    """
    data, grounding = options.train_data, options.train_grounding == "vanilla_cross_vision"
    cross_vision, cat_init, modules = options.cross_vision, options.cat_init, tuple(options.trainable_modules)
    frames, caption_share = 1 if data.name == "gligen" else data.n_sample_frames, _caption_share(data)
    listed = _PUBLISHED_LISTS.get(frozenset(modules))
    name = options.stage or listed
    if name is None and (options.use_image_dataset or data.name == "gligen"):
        name = "1"
    elif name is None and (grounding or cross_vision or cat_init):
        name = "2"
    if name is None:
        raise InputError(
            "which stage? --stage 1, 2 or base; or, as published, --train_grounding vanilla --use_image_dataset "
            "(stage 1), --train_grounding vanilla_cross_vision --cross_vision --cat_init (stage 2)"
        )
    if listed not in (None, name):
        raise InputError(f"trainable_modules is the published list of stage {listed}, but this is stage {name}")
    modules = () if listed else modules
    if options.train_text_encoder and name != "base":
        raise InputError(f"train_text_encoder: the text encoder trains in stage base only, not in stage {name}")
    if name == "base":
        if options.train_grounding or cross_vision or cat_init:
            raise InputError("stage base has no gates: leave out train_grounding, cross_vision and cat_init")
        return Stage(name, False, False, False, frames > 1, Drops(text=0.1), modules, options.train_text_encoder)
    if name == "1":
        if cross_vision or cat_init or grounding:
            raise InputError("stage 1 has no image paths: use train_grounding vanilla, no cross_vision, no cat_init")
        if frames != 1:
            raise InputError(f"stage 1 trains on single images: n_sample_frames is {frames}, set it to 1")
        return Stage(name, True, False, False, False, Drops(1 - caption_share, boxes=0.1), modules)
    unsaid = not (options.train_grounding or cross_vision or cat_init)
    image_gate, image_concat = cross_vision or grounding or unsaid, cat_init or unsaid
    if not image_gate and not image_concat:
        raise InputError("stage 2 trains the image paths: add --cross_vision, --cat_init or both")
    drops = Drops(boxes=0.1, image=0.25, image_tokens=0.1) if options.use_img_free_guidance else Drops(boxes=0.1)
    return Stage(name, True, image_gate, image_concat, True, drops, modules)


def _caption_share(data: DataConfig) -> float:
    """How many samples of stage 1 keep their captions: the same in all data."""
    shares = {options.prob_use_caption for options in data.dataset_names.values()} or {0.5}
    if len(shares) > 1:
        raise InputError(f"prob_use_caption is {sorted(shares)} in different dataset_names; give all of them the same")
    return shares.pop()


def trainable_parameters(
    stage: str | int,
    unet: SMCDUNet3D,
    position_net: nn.Module | None = None,
    image_encoder: nn.Module | None = None,
    *,
    new_position_net: bool = False,
    temporal: bool = True,
    modules: Iterable[str] = (),
) -> set[str]:
    """Names of the tensors that train, prefixed "unet.", "position_net." and "image_encoder.".

    Args:
        stage: 1, 2 or "base".
        new_position_net: stage 2 trains PositionNet only if it did not come from a checkpoint.
        temporal: False leaves out the temporal layers, which are bypassed.
        modules: train those of the UNet with one of these in their names (or in their published names) instead.

    Raises:
        InputError: one of `modules` that fits nothing.
    """
    names = {name for name, _ in unet.named_parameters() if re.search(_TRAINS[str(stage)], name)}
    if modules:
        names = _with_parts(unet, modules)
    if not temporal or str(stage) == "1":
        names = {name for name in names if not re.search(_TEMPORAL, name)}
    trains = {f"unet.{name}" for name in names}
    if position_net is not None and (str(stage) == "1" or new_position_net):
        trains |= {f"position_net.{name}" for name, _ in position_net.named_parameters()}
    if image_encoder is not None and str(stage) == "2":
        trains |= {f"image_encoder.{name}" for name, _ in image_encoder.named_parameters()}
    return trains


def _with_parts(unet: SMCDUNet3D, modules: Iterable[str]) -> set[str]:
    """The UNet's tensors with one of these parts in their names; where none has it, in their published names."""
    theirs = published_names(unet.state_dict())
    found: set[str] = set()
    for part in modules:
        ours = {name for name in theirs if part in name}
        matched = ours or {name for name, published in theirs.items() if part in published}
        if not matched:
            raise InputError(f"trainable_modules: no module of the UNet has {part!r} in its name")
        found |= matched
    return found
