"""The guidance formula."""

import torch

from smcd.guidance import Guidance


def test_branches_are_only_those_that_change_something():
    assert list(Guidance().branches()) == ["text", "all"]
    assert list(Guidance(text=1).branches()) == ["all"]
    assert list(Guidance(text=0).branches()) == ["all"]
    every = Guidance(image=1, text_image=1, boxes=1).branches()
    assert every == {
        "text": {"text": True},
        "image": {"image": True},
        "text_image": {"text": True, "image": True},
        "boxes": {"boxes": True},
        "all": {},
    }


def test_the_formula():
    g = torch.Generator().manual_seed(0)
    eps = {name: torch.randn(3, generator=g) for name in ("text", "image", "text_image", "boxes", "all")}
    full = eps["all"]
    guided = Guidance(7.5, 1.5, 0.5, 2.0).combine(eps)
    expected = eps["text"] + 7.5 * (full - eps["text"])
    expected = expected + 1.5 * (full - eps["image"]) + 0.5 * (full - eps["text_image"]) + 2.0 * (full - eps["boxes"])
    assert torch.allclose(guided, expected)
    assert torch.equal(Guidance(1).combine({"all": full}), full)
