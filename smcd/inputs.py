"""The arguments of `SMCDPipeline.__call__`, checked and brought to one entry per clip."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from smcd.conditions import Box
from smcd.runtime.errors import InputError
from smcd.runtime.media import as_shown, read_image
from smcd.schedulers import has_betas

Image = PIL.Image.Image | np.ndarray | Tensor | str | Path
Prompt = str | Mapping[int, str]  # for all frames, or from a frame on
Prompts = Prompt | Sequence[Prompt]  # for one clip, or for each
Images = Image | Sequence[Image | None] | None  # for one clip, for each clip, or none
_ROUNDING = 1e-3  # by so much a picture of floats may leave 0..1


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


def check_call(num_inference_steps: int, output_type: str, scales: Mapping[str, float]) -> None:
    """Raise a ValueError for settings that would fail late, or give a video of NaN."""
    if not isinstance(num_inference_steps, Integral) or num_inference_steps < 1:
        raise ValueError(f"num_inference_steps is {num_inference_steps!r}; it must be a whole number, at least 1")
    if output_type not in ("np", "pt", "pil", "latent"):
        raise ValueError(f"output_type is {output_type!r}; it must be np, pt, pil or latent")
    for name, scale in scales.items():
        if not isinstance(scale, Real) or not math.isfinite(scale):
            raise ValueError(f"{name} is {scale!r}; it must be a finite number")


def check_tensor(name: str, tensor: Any, shape: tuple[int | None, ...]) -> None:
    """Raise a ValueError for what is not a tensor of this shape (None: any length), or holds NaN or infinity."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} must be a tensor, not a {type(tensor).__name__}")
    found = tuple(tensor.shape)
    if len(found) != len(shape) or any(n not in (m, None) for m, n in zip(found, shape, strict=True)):
        raise ValueError(f"{name} are {found}, expected {shape}".replace("None", "any"))
    if not tensor.isfinite().all():
        raise ValueError(f"{name} hold NaN or infinity")


def check_size(num_frames: int, height: int, width: int, multiple: int) -> None:
    """Raise an InputError that names the nearest possible size."""
    if not isinstance(num_frames, Integral) or num_frames < 1:
        raise InputError(f"num_frames is {num_frames!r}; a video has at least one")
    for name, size in (("height", height), ("width", width)):
        if not isinstance(size, Integral) or size <= 0 or size % multiple:
            nearest = max(1, round(size / multiple)) * multiple
            raise InputError(f"{name} {size} is not a multiple of {multiple}: the nearest is {nearest}")


def check_parts(unet: Mapping[str, Any], scheduler: Any, position_net: object, image_encoder: object) -> None:
    """Raise a ValueError where a pipeline's parts do not fit together; `unet` is its config."""
    if "object_gate" not in unet:
        raise ValueError("the UNet is no SMCDUNet3D; a text-to-video base alone makes no SMCD model")
    if unet["object_gate"] and position_net is None:
        raise ValueError("the UNet has an object gate, but the pipeline has no position_net")
    if unet["image_gate"] and image_encoder is None:
        raise ValueError("the UNet has an image gate, but the pipeline has no image_encoder")
    prediction = scheduler.config.get("prediction_type")
    if prediction not in ("epsilon", "v_prediction"):
        raise ValueError(f"the scheduler predicts {prediction!r}; it must be 'epsilon' or 'v_prediction'")
    if not has_betas(type(scheduler)) or scheduler.config.get("use_flow_sigmas"):
        kind = type(scheduler).__name__
        raise ValueError(f"the scheduler is a {kind}, which adds noise in another way than the networks were trained")


def check_paths(unet: Mapping[str, Any], image: object, boxes: object) -> None:
    """Raise an InputError for conditions that this UNet has no path for."""
    if boxes is not None and not unet["object_gate"]:
        raise InputError("boxes were given, but this model has no object gate")
    if image is not None and not (unet["image_gate"] or unet["image_concat"]):
        raise InputError("an image was given, but this model has no image path")


def boxes_and_phrases(
    boxes: Sequence[Any] | None,
    phrases: Sequence[Any] | None,
    phrase_embeds: Tensor | Sequence[Tensor | None] | None,
    batch_size: int,
) -> tuple[list[Sequence[Sequence[Box]]], list[Sequence[str] | Tensor]]:
    """For each clip F lists of N boxes, and N phrases or their embeddings (N C); all empty where a clip has none.

    A single clip's boxes and phrases go for all clips. Raises a ValueError where the numbers differ.
    """
    if phrases is not None and phrase_embeds is not None:
        raise ValueError("give either phrases or phrase_embeds")
    if isinstance(phrases, str):
        raise ValueError(f"phrases must be a list with one name for each object, not {phrases!r}")
    given: Any = phrases if phrase_embeds is None else phrase_embeds
    if boxes is None and (given is None or len(given) == 0):
        return [[]] * batch_size, [[]] * batch_size
    if boxes is None or given is None:
        raise ValueError("boxes and phrases go together: one name for each object")
    batched = given.ndim == 3 if isinstance(given, Tensor) else len(given) > 0 and not isinstance(given[0], str)
    clips = [clip if clip is not None else [] for clip in boxes] if batched else [boxes] * batch_size
    names = [of_clip if of_clip is not None else [] for of_clip in given] if batched else [given] * batch_size
    if not len(clips) == len(names) == batch_size:
        raise ValueError(f"{batch_size} prompts, but boxes for {len(clips)} clips and phrases for {len(names)}")
    for b, (clip, of_clip) in enumerate(zip(clips, names, strict=True)):
        count = len(clip[0]) if len(clip) else 0
        if count != len(of_clip):
            raise ValueError(f"clip {b} has boxes of {count} objects, but {len(of_clip)} phrases")
    return clips, names


def image_pixels(image: Images, batch_size: int, size: tuple[int, int]) -> list[Tensor | None]:
    """One image (1 3 H W in [-1, 1], squashed to `size`: H, W), or None, for each clip.

    Raises a ValueError for anything that is not a picture, or not in its range.
    """
    if isinstance(image, np.ndarray | Tensor) and image.ndim == 4:
        image = list(image)
    images = list(image) if isinstance(image, list | tuple) else [image] * batch_size
    if len(images) != batch_size:
        raise ValueError(f"{len(images)} images for {batch_size} prompts")

    def pixels(picture: Any) -> Tensor:
        squashed = nn.functional.interpolate(2 * _rgb(picture)[None] - 1, size, mode="bilinear", antialias=True)
        return squashed.contiguous(memory_format=torch.channels_last)  # the VAE then rounds alike for every form

    return [None if picture is None else pixels(picture) for picture in images]


def _rgb(picture: Any) -> Tensor:
    """A picture of any accepted form as floats in 0..1, 3 H W, on the CPU: transparency on white, EXIF applied."""
    if isinstance(picture, str | Path):
        picture = read_image(Path(picture).expanduser())
    if isinstance(picture, PIL.Image.Image):
        picture = np.asarray(as_shown(picture))
    if not isinstance(picture, np.ndarray | Tensor):
        raise ValueError(f"image is a {type(picture).__name__}; it must be a picture, an array, a tensor or a path")
    shape, form = tuple(picture.shape), "3 H W" if isinstance(picture, Tensor) else "H W 3"
    if isinstance(picture, Tensor):
        picture = (picture.float() if picture.is_floating_point() else picture).numpy(force=True)
    elif picture.ndim == 3:
        picture = rearrange(picture, "h w c -> c h w")
    if picture.ndim == 2:
        picture = picture[None]
    if picture.ndim != 3 or len(picture) not in (1, 3, 4) or picture.size == 0:
        raise ValueError(f"image is {shape}; a picture is {form} (or has 1 or 4 channels)")
    white = {"u": 255, "i": 255, "f": 1}.get(picture.dtype.kind)
    if white is None or not -_ROUNDING <= picture.min() <= picture.max() <= white + _ROUNDING:
        found = f"{picture.dtype}" if white is None else f"{picture.dtype} from {picture.min()} to {picture.max()}"
        raise ValueError(f"image is {found}; it must be whole numbers in 0..255, or floats in 0..1")
    pixels = torch.from_numpy(picture.astype(np.float32)) / white
    if len(pixels) == 4:
        pixels = pixels[:3] * pixels[3:] + 1 - pixels[3:]
    return pixels if len(pixels) == 3 else repeat(pixels, "1 h w -> 3 h w")


def after_callback(given: dict[str, Any], returned: dict[str, Any]) -> dict[str, Any]:
    """The tensors that a callback was given, with those it returned in their place.

    diffusers' cutoff callbacks return `prompt_embeds[-1:]`: with one prompt, that is the half of the joined embeddings
    that is not null. Here it is the last clip's, and every clip keeps its own. Raises a ValueError for other shapes.
    """
    kept = dict(given)
    for name in given.keys() & returned.keys():
        before, tensor = given["prompt_embeds" if given[name] is None else name], returned[name]
        if tensor is None:
            continue
        last = before[-1:]
        if name != "latents" and (tensor.shape, tensor.data_ptr()) == (last.shape, last.data_ptr()):
            continue
        if tensor.shape != before.shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(before.shape)}"
            raise ValueError(f"callback_on_step_end returned {name} of shape {shapes}")
        kept[name] = tensor.to(before)
    return kept


def per_clip_generators(generator: Any, batch_size: int) -> list[torch.Generator] | None:
    """One generator for each clip; several are derived from a single one."""
    if generator is None:
        return None
    if isinstance(generator, torch.Generator) and batch_size > 1:
        seeds = torch.randint(2**63 - 1, (batch_size,), generator=generator, device=generator.device)
        return [torch.Generator(generator.device).manual_seed(int(seed)) for seed in seeds]
    generators = [*generator] if isinstance(generator, list | tuple) else [generator]
    if not all(isinstance(each, torch.Generator) for each in generators):
        raise ValueError(f"generator must be a torch.Generator, or a list of them, not {generator!r}")
    if len(generators) != batch_size:
        raise ValueError(f"{len(generators)} generators for {batch_size} clips")
    return generators
