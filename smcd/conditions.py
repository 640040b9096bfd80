"""What a batch of clips is conditioned on: text, boxes with phrases, and the first frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

NULL_OBJECTS = 8  # null tokens of a clip without boxes: the number of stage 2
Box = Sequence[float] | None  # xyxy in 0..1; None where the object is absent
Drop = bool | Tensor  # for all clips, or for each (B, bool)


@dataclass(frozen=True)
class Conditions:
    """The conditions of B clips of F frames with up to N objects, ready for the networks.

    Attributes:
        text: prompt embeddings, B 77 C.
        null_text: embeddings of the null (or negative) prompt, B 77 C; None if no text will be dropped.
        boxes: B F N 4, xyxy in 0..1.
        box_mask: B F N, 1 where the object is present: an absent object is still a token, the learned null token.
        phrase_embeddings: B F N C, or B 1 N C where they are the same in all frames.
        object_padding: B N, True for slots that only fill the batch: no influence at all; None: there are none.
        image_latents: the first frame's latents, B 4 h w, for both image paths; zeros without an image.
        image_token_latents: the image encoder's input where it is not `image_latents`: training drops one or the other.
        later_texts: prompts that take over from a frame on, in a video of several windows: frame -> B 77 C.
    """

    text: Tensor
    null_text: Tensor | None
    boxes: Tensor
    box_mask: Tensor
    phrase_embeddings: Tensor
    object_padding: Tensor | None
    image_latents: Tensor
    image_token_latents: Tensor | None = None
    later_texts: Mapping[int, Tensor] | None = None

    def drop(
        self, text: Drop = False, boxes: Drop = False, image: Drop = False, image_tokens: Drop | None = None
    ) -> "Conditions":
        """Without some conditions: null text, every box mask 0 with N unchanged, zeros for the image.

        `image_tokens` is the image encoder's input; None drops it together with `image`. Raises a ValueError if the
        text is dropped and there is no null text.
        """
        if text is not False and self.null_text is None:
            raise ValueError("guidance by text needs null_text: give negative_prompt_embeds, or a text encoder")
        token_latents = self.image_token_latents
        if image_tokens is not None or token_latents is not None:
            kept = self.image_latents if token_latents is None else token_latents
            token_latents = _without(image if image_tokens is None else image_tokens, kept)
        return replace(
            self,
            text=_without(text, self.text, self.null_text),
            box_mask=_without(boxes, self.box_mask),
            image_latents=_without(image, self.image_latents),
            image_token_latents=token_latents,
        )

    def window(self, frames: range) -> "Conditions":
        """The conditions of some consecutive frames, with the prompt that goes for the middle one.

        The image is still that of the video's first frame.
        """
        part, middle = slice(frames.start, frames.stop), frames[len(frames) // 2]
        phrases = self.phrase_embeddings if self.phrase_embeddings.shape[1] == 1 else self.phrase_embeddings[:, part]
        begun = {start: text for start, text in (self.later_texts or {}).items() if start <= middle}
        return replace(
            self,
            text=begun[max(begun)] if begun else self.text,
            boxes=self.boxes[:, part],
            box_mask=self.box_mask[:, part],
            phrase_embeddings=phrases,
            later_texts=None,
        )

    @classmethod
    def cat(cls, batches: Sequence["Conditions"]) -> "Conditions":
        """Several batches with the same N as one."""
        columns = {f.name: [getattr(batch, f.name) for batch in batches] for f in fields(cls)}
        joined: dict[str, Any] = {name: None if c[0] is None else torch.cat(c) for name, c in columns.items()}
        return cls(**joined)

    def unet_inputs(
        self, unet_config: Mapping[str, Any], position_net: nn.Module | None, image_encoder: Any
    ) -> dict[str, Tensor | None]:
        """Arguments of the UNet besides sample and timestep, for the paths that it has; in the dtype of `text`.

        The image tokens of dropped or missing images are the image encoder's output for zeros, never no tokens.
        """
        objects = image_tokens = None
        padding, dtype = self.object_padding, self.text.dtype
        if unet_config["object_gate"]:
            assert position_net is not None
            objects = position_net(self.boxes, self.box_mask, self.phrase_embeddings).to(dtype)
        if unet_config["image_gate"]:
            assert image_encoder is not None
            latents = self.image_latents if self.image_token_latents is None else self.image_token_latents
            image_tokens = image_encoder(latents.to(image_encoder.dtype)).to(dtype)
        return {
            "encoder_hidden_states": self.text,
            "objects": objects,
            "image_tokens": image_tokens,
            "image_latents": self.image_latents if unet_config["image_concat"] else None,
            "object_padding": padding if objects is not None and padding is not None and padding.any() else None,
        }


def _without(drop: Drop, kept: Tensor, dropped: Tensor | None = None) -> Tensor:
    """`dropped` (zeros by default) for the clips that are dropped, `kept` (B ...) for the others."""
    if drop is False:
        return kept
    dropped = torch.zeros_like(kept) if dropped is None else dropped
    if drop is True:
        return dropped
    return torch.where(drop.to(kept.device).reshape(-1, *[1] * (kept.ndim - 1)), dropped, kept)


def collate_boxes(clips: Sequence[Sequence[Sequence[Box]]], num_frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pad clips of different numbers of objects to one batch.

    Args:
        clips: for each clip F lists of N boxes. A clip without boxes (an empty list, or N = 0) gets `NULL_OBJECTS`
            null tokens.
        num_frames: F.

    Returns:
        boxes (B F N 4), box_mask (B F N) and object_padding (B N, bool).

    Raises:
        ValueError: another number of frames, a number of objects that changes, or a box that is not xyxy in 0..1.
    """
    counts = [len(clip[0]) if len(clip) else 0 for clip in clips]
    slots = [count or NULL_OBJECTS for count in counts]
    boxes = torch.zeros(len(clips), num_frames, max(slots), 4)
    box_mask = torch.zeros(len(clips), num_frames, max(slots))
    object_padding = torch.arange(max(slots)) >= torch.tensor(slots)[:, None]
    for b, (clip, count) in enumerate(zip(clips, counts, strict=True)):
        if count and len(clip) != num_frames:
            raise ValueError(f"clip {b} has boxes for {len(clip)} frames, but num_frames is {num_frames}")
        for f, frame in enumerate(clip):
            if len(frame) != count:
                raise ValueError(
                    f"clip {b}, frame {f}: {len(frame)} boxes, but frame 0 has {count}; use None if absent"
                )
            for n, box in enumerate(frame):
                if box is not None:
                    boxes[b, f, n] = _checked_box(box, f"clip {b}, frame {f}, object {n}")
                    box_mask[b, f, n] = 1
    return boxes, box_mask, object_padding


def _checked_box(box: Sequence[float], where: str) -> Tensor:
    values = torch.as_tensor(box, dtype=torch.float32)
    if values.shape != (4,) or not values.isfinite().all():
        raise ValueError(f"{where}: a box is four finite numbers x1, y1, x2, y2, not {box}")
    if values.min() < -1e-3 or values.max() > 1 + 1e-3:
        raise ValueError(f"{where}: {values.tolist()} is not in 0..1; divide pixels by the image's width and height")
    if values[2] <= values[0] or values[3] <= values[1]:
        raise ValueError(f"{where}: {values.tolist()} is empty: x2 must be above x1 and y2 above y1 (not x, y, w, h)")
    return values.clamp(0, 1)
