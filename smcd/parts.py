"""The parts of an SMCDPipeline: which there are, where they are loaded from, and what a call takes by default."""

import os
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from diffusers.schedulers import KarrasDiffusionSchedulers
from diffusers.video_processor import VideoProcessor
from transformers import CLIPTextModel, CLIPTokenizer

from smcd.guidance import Guidance, windows_of
from smcd.models import ImageEncoder, PositionNet, SMCDUNet3D
from smcd.runtime.built_in import BUILT_IN
from smcd.runtime.errors import InputError
from smcd.runtime.hub import hub_folder

FULL_SIZE = 256  # height and width that the full model was trained with
_DEFAULTS = {"frame_height": FULL_SIZE, "frame_width": FULL_SIZE, "guidance_scale": Guidance.text, "num_frames": 8}


class Parts(DiffusionPipeline):
    """What `SMCDPipeline` is besides its call; its docstring says what the parts are."""

    model_cpu_offload_seq = "text_encoder->position_net->image_encoder->unet->vae"
    _optional_components = ["text_encoder", "tokenizer", "position_net", "image_encoder"]
    _callback_tensor_inputs = ["latents", "prompt_embeds", "negative_prompt_embeds"]

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel | None,
        tokenizer: CLIPTokenizer | None,
        unet: SMCDUNet3D,
        scheduler: KarrasDiffusionSchedulers,
        position_net: PositionNet | None = None,
        image_encoder: ImageEncoder | None = None,
        frame_height: int | None = None,
        frame_width: int | None = None,
        guidance_scale: float | None = None,
        num_frames: int | None = None,
    ):
        super().__init__()
        asked = dict(zip(_DEFAULTS, (frame_height, frame_width, guidance_scale, num_frames), strict=True))
        given = {name: value for name, value in asked.items() if value is not None}
        self.register_to_config(**{**_DEFAULTS, **getattr(unet, "pipeline_parameters", {}), **given})
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=scheduler)
        self.register_modules(unet=unet, position_net=position_net, image_encoder=image_encoder)
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1) if vae is not None else 8
        self.video_processor = VideoProcessor(do_resize=False, do_convert_rgb=True)
        self._guidance_scale, self._num_timesteps, self._interrupt = self.config.guidance_scale, 0, False

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Self:
        """As in diffusers; "sprites" is the small model that is built in."""
        name = pretrained_model_name_or_path
        if name in BUILT_IN:
            name = BUILT_IN[str(name)]
            if not {"dtype", "torch_dtype"} & kwargs.keys():
                kwargs["dtype"] = torch.float32  # stored in half precision
        return super().from_pretrained(name, **kwargs)

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> Path:
        """As in diffusers, whose own method refuses repositories with networks of another library."""
        parts, _ = cls._get_signature_keys(cls)
        patterns = [cls.config_name, *(f"{part}/*" for part in parts if part not in kwargs)]
        known = {"variant", "revision", "token", "cache_dir", "local_files_only", "force_download"} & kwargs.keys()
        folder = hub_folder(pretrained_model_name, patterns, **{name: kwargs[name] for name in known})
        if not (folder / cls.config_name).is_file():
            fix = "for published weights, see docs/checkpoints.md"
            raise InputError(f"{pretrained_model_name}: is no saved pipeline, it has no {cls.config_name}; {fix}")
        return folder

    @property
    def components(self) -> dict[str, Any]:
        """As in diffusers; `SMCDPipeline(**pipe.components)` keeps size and guidance scale: the UNet carries them."""
        if self.unet is not None:
            self.unet.pipeline_parameters = self.parameters
        return super().components

    @property
    def guidance_scale(self) -> float:
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        return self._guidance_scale > 1

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        return self._interrupt

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this: the VAE's factor times 2^(levels - 1)."""
        return self.vae_scale_factor * 2 ** (len(self.unet.config.block_out_channels) - 1)

    def windows(self, num_frames: int, size: int | None = None, stride: int | None = None) -> list[range]:
        """The windows of a video, see `SMCDPipeline.__call__`. Raises a ValueError for sizes that do not fit."""
        if size == 0:
            return [range(num_frames)]
        size = min(self.config.num_frames, num_frames) if size is None else size
        stride = max(1, size // 2) if stride is None else stride
        if not 1 <= stride <= size <= num_frames:
            raise ValueError(
                f"window {size}, window_stride {stride}: need 1 <= stride <= window <= {num_frames} frames"
            )
        return windows_of(num_frames, size, stride)

    def enable_vae_slicing(self) -> None:
        """Encode and decode one frame at a time: less memory, same result."""
        self.vae.enable_slicing()
