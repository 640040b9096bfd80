"""Videos of more frames than the networks were trained with: overlapping windows over time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smcd.guidance import GuidedDenoiser, windows_of
from smcd.latents import related_noise
from smcd.models.transformers import TemporalTransformer
from smcd.sprites.tiny import tiny_pipeline
from tests.conftest import open_gates
from tests.test_pipeline import generator, run


def long(frames: int) -> dict:
    """Arguments of a video with one object that grows."""
    return {"num_frames": frames, "boxes": [[[0.1, 0.1, 0.3 + 0.02 * f, 0.6]] for f in range(frames)]}


@pytest.fixture(scope="module")
def stills():
    """A pipeline whose frames do not see each other: its temporal layers are the identity."""
    pipe = open_gates(tiny_pipeline())
    for module in pipe.unet.modules():
        if isinstance(module, TemporalTransformer):
            torch.nn.init.zeros_(module.proj_out.weight)
            torch.nn.init.zeros_(module.proj_out.bias)
    return pipe


@given(st.integers(1, 200), st.integers(1, 32), st.integers(1, 32))
def test_windows_cover_the_video_and_end_with_it(num_frames, size, stride):
    windows = windows_of(num_frames, size, min(stride, size))
    assert sorted({frame for window in windows for frame in window}) == list(range(num_frames))
    assert {len(window) for window in windows} == {min(size, num_frames)}
    assert windows == sorted(set(windows), key=lambda window: window.start)


def test_a_video_of_one_window_is_as_before(shared_pipe):
    assert torch.equal(run(shared_pipe, window=0), run(shared_pipe))


def test_frames_that_do_not_see_each_other_are_the_same_in_windows(stills):
    ten = long(10) | {"latents": torch.randn(1, 4, 10, 4, 6, generator=generator())}
    plain = run(stills, **ten, window=0)
    assert torch.allclose(run(stills, **ten, window=4, window_stride=2), plain, atol=1e-4)
    assert torch.allclose(run(stills, **ten), plain, atol=1e-4)  # windows of 8, as trained


def test_windows_hold_more_than_one_neighborhood(shared_pipe):
    assert not torch.allclose(run(shared_pipe, **long(10)), run(shared_pipe, **long(10), window=0), atol=1e-2)


def test_noise_repeats_earlier_frames(shared_pipe):
    noise = torch.randn(2, 4, 19, 3, 3, generator=generator())
    related = related_noise(noise, 8, 4, [generator(1), generator(2)])
    assert torch.equal(related[:, :, :8], noise[:, :, :8])
    for clip in related:
        for f in range(8, 19):
            assert any(torch.equal(clip[:, f], clip[:, earlier]) for earlier in range(f))
    assert torch.equal(related[1:], related_noise(noise[1:], 8, 4, [generator(2)]))


def test_a_later_prompt_changes_the_windows_that_lie_in_it(stills):
    twelve = long(12) | {"window": 4, "window_stride": 4}
    one, two = run(stills, **twelve), run(stills, **twelve, prompt={0: "a cat runs", 8: "it sleeps"})
    assert torch.equal(one[:, :, :8], two[:, :, :8])
    assert not torch.allclose(one[:, :, 8:], two[:, :, 8:], atol=1e-3)


def test_prompts_by_frame_in_a_batch(stills):
    given = long(12) | {"window": 4, "image": None}
    alone = [
        run(stills, **given, prompt=prompt, generator=generator(seed))
        for seed, prompt in enumerate([{"0": "a cat", "6": "a dog"}, "a bird"])
    ]
    both = run(stills, **given, prompt=[{"0": "a cat", "6": "a dog"}, "a bird"], generator=[generator(0), generator(1)])
    assert torch.allclose(both, torch.cat(alone), atol=1e-4)


def test_caches_do_not_grow_with_the_length(shared_pipe, monkeypatch):
    caches = []
    predict = GuidedDenoiser._predict
    monkeypatch.setattr(
        GuidedDenoiser, "_predict", lambda self, *args: (caches.append(args[2][0][1]["cache"]), predict(self, *args))[1]
    )
    sizes = []
    for frames in (12, 24):
        caches.clear()
        run(shared_pipe, **long(frames), num_inference_steps=1)
        kept = {id(cache): cache for cache in caches}.values()
        sizes.append(sum(tensor.numel() for cache in kept for entry in cache.entries.values() for tensor in entry))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"window": 13}, "window"),
        ({"window": 4, "window_stride": 5}, "stride"),
        ({"window_stride": 0}, "stride"),
        ({"prompt": {0: "a cat", 12: "a dog"}}, "12"),
        ({"prompt": {4: "a dog"}}, "frame 0"),
        ({"prompt": {0: "a cat", 4: "a dog"}, "window": 0}, "windows"),
    ],
)
def test_what_does_not_fit_is_named(shared_pipe, change, named):
    with pytest.raises(ValueError, match=named):
        run(shared_pipe, **(long(12) | change))


def test_frames_are_decoded_in_slices(shared_pipe):
    whole = run(shared_pipe, **long(12), output_type="np", decode_chunk_size=12)
    for size in (None, 1, 5):
        slices = run(shared_pipe, **long(12), output_type="np", decode_chunk_size=size)
        assert abs(slices - whole).max() < 1e-5
