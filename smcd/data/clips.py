"""What training sees: clips cut out of videos, and batches of clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from smcd.runtime.errors import InputError
from smcd.runtime.media import resize


@dataclass(frozen=True)
class Video:
    """A video's annotation."""

    name: str  # unique in its dataset: "GOT-10k_Train_000001"
    prompt: str
    phrases: list[str]  # names of its N objects
    boxes: np.ndarray  # F N 4, float32, xyxy in 0..1; zeros where absent
    box_mask: np.ndarray  # F N, float32, 1 where the object is present
    where: str = ""  # file and place of the annotation, for messages
    fingerprint: str = ""  # tells whether the file of frames is still the same, where a dataset may change

    def __len__(self) -> int:
        return len(self.boxes)


class VideoSource(Protocol):
    """A dataset of videos: GOT-10k, YouTube-VIS, a user's folder, sprites."""

    name: str  # the dataset and split: "got10k/train"
    names: list[str]  # the videos that are used, sorted
    dropped: dict[str, str]  # videos that are not used, with the reason

    @property
    def fingerprint(self) -> str:
        """It changes with what is used of the annotations, not with the place where they lie."""

    def video(self, index: int) -> Video:
        """The annotation. Raises an InputError where it is broken."""

    def images(self, index: int, frames: Sequence[int], size: tuple[int, int] | None) -> list[PIL.Image.Image]:
        """These frames in RGB; with `size` (height, width) they may come scaled down, but not below it.

        Raises an InputError for a frame that is missing or broken, by its file.
        """


@dataclass(frozen=True)
class Sampling:
    """How clips are cut out of videos."""

    num_frames: int = 8
    height: int = 256  # frames are squashed to this size, in pixels
    width: int = 256
    max_objects: int = 8  # N: fewer objects are filled up with absent ones, and of more the first N are used
    stride: int = 1  # n, to take every n-th frame of the video
    start: int | Literal["random"] = "random"  # number of the first frame
    resize: str = "antialiased"  # bilinear, or "published": bilinear without antialiasing

    @property
    def needed(self) -> int:
        """Frames that a video must have."""
        return (self.num_frames - 1) * self.stride + 1 + (0 if self.start == "random" else self.start)

    def frames(self, length: int, rng: np.random.Generator) -> range:
        """Numbers of the frames of a clip from a video of this length."""
        spare = length - (self.num_frames - 1) * self.stride
        first = int(rng.integers(spare)) if self.start == "random" else self.start
        return range(first, first + self.num_frames * self.stride, self.stride)


@dataclass
class Clip:
    """A clip, or one image, of a dataset. Either frames or latents are given."""

    name: str  # dataset, video and first frame: "got10k/train/GOT-10k_Train_000001@17"
    prompt: str
    phrases: list[str]  # N names, empty for objects that only fill the clip up to N
    boxes: Tensor  # F N 4, xyxy in 0..1; zeros where absent
    box_mask: Tensor  # F N, 1 where the object is present
    frames: Tensor | None = None  # F H W 3, uint8
    latent_mean: Tensor | None = None  # the VAE's posterior, 4 F h w, scaled; from a cache
    latent_std: Tensor | None = None
    text: Tensor | None = None  # the prompt's embedding, 77 C; from a cache
    phrase_embeddings: Tensor | None = None  # N C, zeros for empty phrases; from a cache or a file
    skipped: tuple[str, ...] = ()  # a message for each broken clip that this one replaces

    @classmethod
    def padded(
        cls, name: str, prompt: str, phrases: Sequence[str], boxes: np.ndarray, box_mask: np.ndarray, slots: int
    ) -> "Clip":
        """A clip with exactly `slots` objects: the first of those given (boxes F n 4, box_mask F n), or absent ones."""
        missing = max(0, slots - len(phrases))
        filled = torch.from_numpy(np.pad(boxes[:, :slots], ((0, 0), (0, missing), (0, 0)))).float()
        there = torch.from_numpy(np.pad(box_mask[:, :slots], ((0, 0), (0, missing)))).float()
        return cls(name, prompt, [*phrases[:slots], *[""] * missing], filled, there)


@dataclass
class Batch:
    """B clips: the attributes of `Clip`, lists of B entries and tensors with B in front."""

    names: list[str]
    prompts: list[str]
    phrases: list[list[str]]
    boxes: Tensor
    box_mask: Tensor
    frames: Tensor | None
    latent_mean: Tensor | None
    latent_std: Tensor | None
    text: Tensor | None
    phrase_embeddings: Tensor | None
    skipped: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch with its tensors on a device."""
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, for fast copies to a GPU; torch's DataLoader calls it."""
        return self._with_tensors(Tensor.pin_memory)

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        changed: dict[str, Any] = {name: change(x) for name, x in vars(self).items() if isinstance(x, Tensor)}
        return replace(self, **changed)


def collate(clips: Sequence[Clip]) -> Batch:
    """Clips of the same size as one batch. Raises an InputError for clips that do not go together, by name."""
    stacked: dict[str, Any] = {}
    for name in ("boxes", "box_mask", "frames", "latent_mean", "latent_std", "text", "phrase_embeddings"):
        values = [getattr(clip, name) for clip in clips]
        shapes = [None if value is None else tuple(value.shape) for value in values]
        for clip, shape in zip(clips, shapes, strict=True):
            if shape != shapes[0]:
                pair = f"{clips[0].name} and {clip.name} do not fit in one batch: {name} is {shapes[0]} and {shape}"
                raise InputError(f"{pair}; give all datasets one size, and latents to all or none")
        stacked[name] = torch.stack(values) if shapes[0] else None
    return Batch(
        names=[clip.name for clip in clips],
        prompts=[clip.prompt for clip in clips],
        phrases=[clip.phrases for clip in clips],
        skipped=[message for clip in clips for message in clip.skipped],
        **stacked,
    )


class ClipSource(Protocol):
    """What can be trained on: `VideoClips` and `GligenTSV`."""

    name: str
    dropped: dict[str, str]

    def __len__(self) -> int: ...

    @property
    def fingerprint(self) -> str:
        """As that of a `VideoSource`."""

    def clip(self, index: int, rng: np.random.Generator) -> Clip:
        """Clip number `index`, its random choices from `rng`. Raises an InputError where the data are broken."""


class VideoClips:
    """Clips of a dataset of videos: one for each video and epoch, its start drawn anew.

    Cached `latents` (`latent_cache.LatentCache`) replace pixels; `phrase_embeddings` (`phrases.PhraseEmbeddings`) give
    embeddings of phrases.
    """

    def __init__(
        self,
        source: VideoSource,
        sampling: Sampling,
        latents: Callable[[Video, range], dict[str, Tensor]] | None = None,
        phrase_embeddings: Callable[[Sequence[str], str], Tensor] | None = None,
    ):
        self.source, self.sampling = source, sampling
        self.name, self.dropped = source.name, source.dropped
        self._latents, self._phrase_embeddings = latents, phrase_embeddings

    def __len__(self) -> int:
        return len(self.source.names)

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint

    def clip(self, index: int, rng: np.random.Generator) -> Clip:
        video, sampling = self.source.video(index), self.sampling
        if len(video) < sampling.needed:
            raise InputError(f"{video.where}: {video.name} has {len(video)} frames, {sampling.needed} are needed")
        frames = sampling.frames(len(video), rng)
        name, there = f"{self.name}/{video.name}@{frames[0]}", list(frames)
        boxes, box_mask = video.boxes[there], video.box_mask[there]
        clip = Clip.padded(name, video.prompt, video.phrases, boxes, box_mask, sampling.max_objects)
        if self._phrase_embeddings is not None:
            clip.phrase_embeddings = self._phrase_embeddings(clip.phrases, video.where)
        if self._latents is None:
            size = (sampling.height, sampling.width)
            clip.frames = torch.from_numpy(read_frames(self.source, index, frames, *size, sampling.resize))
            return clip
        cached: dict[str, Any] = self._latents(video, frames)
        embeddings = cached.pop("phrase_embeddings", None)
        if self._phrase_embeddings is None and embeddings is not None:
            clip.phrase_embeddings = embeddings.new_zeros(len(clip.phrases), embeddings.shape[-1])
            clip.phrase_embeddings[: len(embeddings)] = embeddings[: sampling.max_objects]
        return replace(clip, **cached)


def read_frames(
    source: VideoSource, index: int, frames: Sequence[int], height: int, width: int, resized: str = "antialiased"
) -> np.ndarray:
    """Frames of a video, squashed: F H W 3, uint8. Raises an InputError for one that cannot be read."""
    antialias = resized == "antialiased"
    images = source.images(index, frames, (height, width) if antialias else None)
    return np.stack([np.asarray(resize(image, height, width, antialias)) for image in images])
