"""The arguments of `SMCDPipeline.__call__`, checked and brought to one entry per clip."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from diffusers.image_processor import VaeImageProcessor
from torch import Tensor, nn

from smcd.conditions import Box
from smcd.runtime.errors import InputError

Image = PIL.Image.Image | np.ndarray | Tensor
Prompt = str | Mapping[int, str]  # for all frames, or from a frame on
Prompts = Prompt | Sequence[Prompt]  # for one clip, or for each
Images = Image | Sequence[Image | None] | None  # for one clip, for each clip, or none


def count_prompts(prompt: Any, prompt_embeds: Tensor | None) -> int:
    """The number of clips. Raises a ValueError unless exactly one of the two is given."""
    if (prompt is None) == (prompt_embeds is None):
        raise ValueError("give either prompt or prompt_embeds")
    if prompt_embeds is not None:
        return len(prompt_embeds)
    if isinstance(prompt, str):
        return 1
    if not isinstance(prompt, list) or not prompt or not all(isinstance(text, str) for text in prompt):
        raise ValueError(f"prompt must be a string or a list of strings, not {prompt!r}")
    return len(prompt)


def prompts_by_frame(prompt: Any, num_frames: int) -> tuple[Any, dict[int, list[str]]]:
    """The prompts at frame 0, and those that take over later, {frame: one for each clip}.

    A clip's prompt is a string, or says what happens from a frame on: {0: "A dog sits.", 32: "A dog runs."}. Raises a
    ValueError for frames that the video does not have, or without a prompt for frame 0.
    """
    clips = prompt if isinstance(prompt, list) else [prompt]
    if not any(isinstance(clip, Mapping) for clip in clips):
        return prompt, {}
    schedules = [clip if isinstance(clip, Mapping) else {0: clip} for clip in clips]
    schedules = [{int(frame): text for frame, text in clip.items()} for clip in schedules]
    for schedule in schedules:
        if 0 not in schedule or max(schedule) >= num_frames or min(schedule) < 0:
            frames = ", ".join(map(str, sorted(schedule)))
            raise ValueError(
                f"prompt has frames {frames}; it needs frame 0, and none beyond the last, {num_frames - 1}"
            )
    at = {
        start: [schedule[max(frame for frame in schedule if frame <= start)] for schedule in schedules]
        for start in sorted(set().union(*schedules))
    }
    return at.pop(0), at


def check_call(num_inference_steps: int, output_type: str) -> None:
    """Raise a ValueError for settings that would fail late."""
    if num_inference_steps < 1:
        raise ValueError(f"num_inference_steps is {num_inference_steps}; it must be at least 1")
    if output_type not in ("np", "pt", "pil", "latent"):
        raise ValueError(f"output_type is {output_type!r}; it must be np, pt, pil or latent")


def check_size(num_frames: int, height: int, width: int, multiple: int) -> None:
    """Raise an InputError that names the nearest possible size."""
    if num_frames < 1:
        raise InputError(f"num_frames is {num_frames}; a video has at least one")
    for name, size in (("height", height), ("width", width)):
        if size <= 0 or size % multiple:
            nearest = max(1, round(size / multiple)) * multiple
            raise InputError(f"{name} {size} is not a multiple of {multiple}: the nearest is {nearest}")


def check_parts(
    unet: Mapping[str, Any], scheduler: Mapping[str, Any], position_net: object, image_encoder: object
) -> None:
    """Raise a ValueError where a pipeline's parts do not fit together; `unet` and `scheduler` are configs."""
    if unet["object_gate"] and position_net is None:
        raise ValueError("the UNet has an object gate, but the pipeline has no position_net")
    if unet["image_gate"] and image_encoder is None:
        raise ValueError("the UNet has an image gate, but the pipeline has no image_encoder")
    prediction = scheduler.get("prediction_type")
    if prediction not in ("epsilon", "v_prediction"):
        raise ValueError(f"the scheduler predicts {prediction!r}; it must be 'epsilon' or 'v_prediction'")


def check_paths(unet: Mapping[str, Any], image: object, boxes: object) -> None:
    """Raise an InputError for conditions that this UNet has no path for."""
    if boxes is not None and not unet["object_gate"]:
        raise InputError("boxes were given, but this model has no object gate")
    if image is not None and not (unet["image_gate"] or unet["image_concat"]):
        raise InputError("an image was given, but this model has no image path")


def boxes_and_phrases(
    boxes: Sequence[Any] | None, phrases: Sequence[Any] | None, batch_size: int
) -> tuple[list[Sequence[Sequence[Box]]], list[Sequence[str]]]:
    """For each clip F lists of N boxes, and N phrases; both empty where a clip has none.

    A single clip's boxes and phrases go for all clips. Raises a ValueError where the numbers differ.
    """
    if boxes is None and not phrases:
        return [[]] * batch_size, [[]] * batch_size
    if boxes is None or phrases is None:
        raise ValueError("boxes and phrases go together: one name for each object")
    if isinstance(phrases, str):
        raise ValueError(f"phrases must be a list with one name for each object, not {phrases!r}")
    batched = len(phrases) > 0 and not isinstance(phrases[0], str)
    clips = [clip if clip is not None else [] for clip in boxes] if batched else [boxes] * batch_size
    names = [of_clip if of_clip is not None else [] for of_clip in phrases] if batched else [phrases] * batch_size
    if not len(clips) == len(names) == batch_size:
        raise ValueError(f"{batch_size} prompts, but boxes for {len(clips)} clips and phrases for {len(names)}")
    for b, (clip, of_clip) in enumerate(zip(clips, names, strict=True)):
        count = len(clip[0]) if len(clip) else 0
        if count != len(of_clip):
            raise ValueError(f"clip {b} has boxes of {count} objects, but {len(of_clip)} phrases")
    return clips, names


def image_pixels(
    image: Images, batch_size: int, processor: VaeImageProcessor, size: tuple[int, int]
) -> list[Tensor | None]:
    """One image (1 3 H W in [-1, 1], squashed to `size`: H, W), or None, for each clip."""

    def pixels(picture: Any) -> Tensor:
        given = processor.preprocess(picture).float().cpu()
        return nn.functional.interpolate(given, size, mode="bilinear", antialias=True)

    return [None if picture is None else pixels(picture) for picture in _image_list(image, batch_size)]


def _image_list(image: Any, batch_size: int) -> list[Any]:
    """One image, or None, for each clip, in a form that diffusers' image processor takes."""
    if isinstance(image, np.ndarray | Tensor) and image.ndim == 4:
        image = list(image)
    images = list(image) if isinstance(image, list | tuple) else [image] * batch_size
    if len(images) != batch_size:
        raise ValueError(f"{len(images)} images for {batch_size} prompts")
    return [_floats(picture) for picture in images]


def _floats(picture: Any) -> Any:
    """An integer array or tensor (0..255) as floats in 0..1; anything else as it is."""
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
        return picture.astype(np.float32) / 255
    if isinstance(picture, Tensor) and not picture.is_floating_point():
        return picture.float() / 255
    return picture


def per_clip_generators(generator: Any, batch_size: int) -> list[torch.Generator] | None:
    """One generator for each clip; several are derived from a single one."""
    if generator is None:
        return None
    if isinstance(generator, torch.Generator) and batch_size > 1:
        seeds = torch.randint(2**63 - 1, (batch_size,), generator=generator, device=generator.device)
        return [torch.Generator(generator.device).manual_seed(int(seed)) for seed in seeds]
    generators = [generator] if isinstance(generator, torch.Generator) else list(generator)
    if len(generators) != batch_size:
        raise ValueError(f"{len(generators)} generators for {batch_size} clips")
    return generators
