"""Conditions: padding and dropping."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smcd import Conditions
from smcd.conditions import NULL_OBJECTS, collate_boxes
from smcd.sprites.tiny import tiny_pipeline

corners, sides = st.floats(0, 0.875), st.floats(0.0625, 1)
boxes = st.builds(lambda x, y, w, h: (x, y, min(1, x + w), min(1, y + h)), corners, corners, sides, sides)


@st.composite
def clips(draw, frames: int = 3):
    counts = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    return [
        [[draw(st.none() | boxes) for _ in range(count)] for _ in range(frames)] if count else [] for count in counts
    ]


@given(clips())
def test_collated_boxes_keep_every_box_and_pad_the_rest(batch):
    tensor, mask, padding = collate_boxes(batch, num_frames=3)
    slots = max(len(clip[0]) if clip else NULL_OBJECTS for clip in batch)
    assert tensor.shape == (len(batch), 3, slots, 4)
    for b, clip in enumerate(batch):
        count = len(clip[0]) if clip else 0
        assert padding[b].tolist() == [n >= (count or NULL_OBJECTS) for n in range(slots)]
        for f in range(3):
            for n in range(slots):
                box = clip[f][n] if n < count else None
                assert mask[b, f, n] == (box is not None)
                assert tensor[b, f, n].tolist() == pytest.approx(box or (0, 0, 0, 0))


def example() -> Conditions:
    g = torch.Generator().manual_seed(0)
    return Conditions(
        text=torch.randn(2, 77, 8, generator=g),
        null_text=torch.randn(2, 77, 8, generator=g),
        boxes=torch.rand(2, 3, 4, 4, generator=g),
        box_mask=torch.ones(2, 3, 4),
        phrase_embeddings=torch.randn(2, 1, 4, 8, generator=g),
        object_padding=torch.tensor([[False] * 4, [False, False, True, True]]),
        image_latents=torch.randn(2, 4, 5, 6, generator=g),
    )


def changed(before: Conditions, after: Conditions) -> set[str]:
    names = {name for name, value in vars(before).items() if value is not getattr(after, name)}
    return {name for name in names if not torch.equal(vars(before)[name], vars(after)[name])}


@pytest.mark.parametrize(
    ("drops", "fields"),
    [
        ({}, set()),
        ({"text": True}, {"text"}),
        ({"boxes": True}, {"box_mask"}),
        ({"image": True}, {"image_latents"}),
        ({"text": True, "image": True}, {"text", "image_latents"}),
    ],
)
def test_dropping_changes_only_what_is_dropped(drops, fields):
    assert changed(example(), example().drop(**drops)) == fields


def test_dropped_means_null_text_masks_of_zero_and_zeros():
    dropped = example().drop(text=True, boxes=True, image=True)
    assert torch.equal(dropped.text, example().null_text)
    assert dropped.box_mask.shape == (2, 3, 4)
    assert dropped.box_mask.sum() == dropped.image_latents.abs().sum() == 0


def test_each_clip_drops_for_itself():
    first, second = torch.tensor([True, False]), torch.tensor([False, True])
    dropped = example().drop(text=second, boxes=first, image=first, image_tokens=second)
    assert torch.equal(dropped.text[0], example().text[0])
    assert torch.equal(dropped.text[1], example().null_text[1])
    assert dropped.box_mask.sum((1, 2)).tolist() == [0, 12]
    assert torch.equal(dropped.image_latents, example().image_latents * second[:, None, None, None])
    assert torch.equal(dropped.image_token_latents, example().image_latents * first[:, None, None, None])


def test_the_image_encoder_sees_what_was_not_dropped_for_it():
    pipe = tiny_pipeline()
    conditions = replace(example(), text=torch.zeros(2, 77, 64), image_latents=torch.ones(2, 4, 8, 8))
    conditions = conditions.drop(image=True, image_tokens=torch.tensor([False, True]))
    inputs = conditions.unet_inputs(pipe.unet.config | {"object_gate": False}, None, pipe.image_encoder)
    assert inputs["image_latents"].abs().sum() == 0
    tokens = pipe.image_encoder(torch.stack([torch.ones(4, 8, 8), torch.zeros(4, 8, 8)]))
    assert torch.equal(inputs["image_tokens"], tokens)


def test_branches_are_concatenated_in_order():
    both = Conditions.cat([example(), example().drop(text=True)])
    assert torch.equal(both.text, torch.cat([example().text, example().null_text]))
    assert both.object_padding.shape == (4, 4)
