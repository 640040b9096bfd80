"""What may be given to the pipeline, and in which forms: pictures, embeddings, callbacks."""

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers.callbacks import MultiPipelineCallbacks, SDCFGCutoffCallback
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from smcd import SMCDPipeline
from smcd.inputs import image_pixels
from smcd.text import encode_phrases
from tests.test_pipeline import close, generator, picture, run, track

PROMPTS = ["a cat runs", "a dog sleeps on a mat", "rain"]
RNG = np.random.default_rng(0)


def pixels(image) -> torch.Tensor:
    [found] = image_pixels(image, 1, (8, 16))
    assert found.shape == (1, 3, 8, 16)
    return found


@given(st.data(), st.sampled_from([1, 3, 4]), st.integers(1, 9), st.integers(1, 9))
@settings(deadline=None, max_examples=30)
def test_every_form_of_a_picture_is_the_same_picture(data, channels, height, width):
    array = data.draw(st_numpy.arrays(np.uint8, (height, width, channels)))
    gray = array[..., 0] if channels == 1 else array
    expected = pixels(PIL.Image.fromarray(gray))
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    floats = array.astype(np.float32) / 255
    forms = [array, array.astype(np.int64), gray, floats, tensor, tensor.int(), tensor.double() / 255, [floats]]
    if channels == 1:
        forms.append(tensor[0])
    for form in forms:
        assert close(pixels(form), expected, atol=2.1 / 255)  # Pillow rounds what it puts on white


def test_transparency_goes_on_white():
    clear = PIL.Image.new("RGBA", (16, 8), (255, 0, 0, 0))
    assert pixels(clear).min() == 1
    assert pixels(clear.convert("RGBa").convert("RGBA").quantize()).min() == 1


@pytest.mark.parametrize("form", [str, lambda path: path, PIL.Image.open], ids=["string", "path", "image"])
def test_a_photo_is_turned_as_its_exif_says(tmp_path, form):
    upright = picture(size=(8, 16))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to show
    upright.transpose(PIL.Image.Transpose.ROTATE_90).save(tmp_path / "photo.png", exif=exif)
    assert torch.equal(pixels(form(tmp_path / "photo.png")), pixels(upright))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RNG.random((8, 8, 3)) * 255, "image is float64 from .* to .*; it must be whole numbers in 0..255, or floats"),
        (RNG.random((8, 8, 3)) * 2 - 1, "image is float64 from -0"),
        (np.full((8, 8, 3), np.nan), "image is float64 from nan"),
        (np.full((8, 8), 40_000, np.uint16), "image is uint16 from 40000"),
        (np.full((8, 8, 3), -1), "image is int64 from -1"),
        (np.zeros((8, 8, 3), bool), "image is bool; it must be"),
        (np.zeros((8, 8, 3), complex), "image is complex128; it must be"),
        (np.zeros((3, 8, 8)), r"image is \(3, 8, 8\); a picture is H W 3"),
        (torch.zeros(8, 8, 3), r"image is \(8, 8, 3\); a picture is 3 H W"),
        (torch.zeros(2, 8, 8), "a picture is 3 H W"),
        (np.zeros((0, 8, 3)), "a picture is H W 3"),
        (torch.full((3, 8, 8), torch.inf), "image is float32 from inf"),
        (5, "image is a int; it must be a picture"),
        ("nowhere.png", r"nowhere\.png: cannot be read as an image"),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_what_is_no_picture_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        pixels(image)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({name: scale}, f"{name} is .*; it must be a finite number")
          for name in ("guidance_scale", "image_guidance_scale", "text_image_guidance_scale", "box_guidance_scale")
          for scale in (float("nan"), float("-inf"), "7.5")),
        ({"latents": torch.full((1, 4, 3, 4, 6), torch.nan)}, "latents hold NaN"),
        ({"prompt": None, "prompt_embeds": torch.full((1, 77, 64), torch.inf)}, "^prompt_embeds hold NaN or inf"),
        ({"prompt": None, "prompt_embeds": torch.zeros(1, 77, 9)}, r"^prompt_embeds are \(1, 77, 9\), expected"),
        ({"negative_prompt_embeds": torch.zeros(1, 9, 64)}, r"negative_prompt_embeds are .* \(any, 77, 64\)"),
        ({"negative_prompt_embeds": torch.zeros(2, 77, 64)}, "2 negative prompts for 1 prompts"),
        ({"phrases": None, "phrase_embeds": torch.zeros(1, 9)}, r"phrase_embeds are \(1, 9\), expected \(any, 64\)"),
        ({"phrases": None, "phrase_embeds": torch.zeros(2, 64)}, "boxes of 1 objects, but 2 phrases"),
        ({"phrase_embeds": torch.zeros(1, 64)}, "either phrases or phrase_embeds"),
        ({"phrases": None, "phrase_embeds": [np.zeros((1, 64))], "boxes": [track()]}, "phrase_embeds must be a tensor"),
        ({"latents": np.zeros((1, 4, 3, 4, 6))}, "latents must be a tensor, not a ndarray"),
        ({"negative_prompt": "rain", "negative_prompt_embeds": torch.zeros(1, 77, 64)}, "either negative_prompt or"),
        ({"num_frames": 3.0}, "num_frames is 3.0"),
        ({"height": 32.0}, "height 32.0"),
        ({"num_inference_steps": 2.5}, "num_inference_steps is 2.5"),
        ({"generator": 42}, "generator must be a torch.Generator, or a list of them, not 42"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)  # fmt: skip
def test_arguments_that_would_fail_late_or_in_silence_are_refused(shared_pipe, changes, message):
    with pytest.raises(ValueError, match=message):
        run(shared_pipe, **changes)


def batch(pipe, **changes) -> torch.Tensor:
    generators = [generator(i) for i in range(len(PROMPTS))]
    return run(pipe, **{"prompt": PROMPTS, "boxes": None, "phrases": None, "generator": generators} | changes)


@pytest.mark.parametrize("several", [False, True], ids=["alone", "among several"])
def test_diffusers_cutoff_callback_leaves_every_clip_its_prompt(shared_pipe, several):
    cutoff = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=1)

    def only_guidance(pipe, step, timestep, tensors):
        if step == 1:
            pipe._guidance_scale = 0.0
        return {}

    made = batch(shared_pipe, callback_on_step_end=MultiPipelineCallbacks([cutoff]) if several else cutoff)
    assert close(made, batch(shared_pipe, callback_on_step_end=only_guidance))
    assert not close(made, batch(shared_pipe))


@pytest.mark.parametrize("name", ["latents", "prompt_embeds", "negative_prompt_embeds"])
def test_a_callback_that_returns_another_batch_is_refused(shared_pipe, name):
    def other_batch(pipe, step, timestep, tensors):
        return {name: tensors[name][:1].clone()}

    with pytest.raises(ValueError, match=f"callback_on_step_end returned {name} of shape"):
        batch(shared_pipe, callback_on_step_end=other_batch, callback_on_step_end_tensor_inputs=[name])


def test_embeddings_that_a_callback_changes_in_place_are_used(shared_pipe):
    def silence(pipe, step, timestep, tensors):
        tensors["prompt_embeds"].zero_()
        return tensors

    inputs = {"callback_on_step_end": silence, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    assert not close(run(shared_pipe, **inputs), run(shared_pipe))


def test_phrase_embeddings_stand_for_phrases(shared_pipe):
    phrases = [["cat"], ["dog", "mat"], None]
    tracks = {"prompt": PROMPTS, "boxes": [track(), track(2), None]}
    given = [None if names is None else encode_phrases(shared_pipe.tokenizer, shared_pipe.text_encoder, names)
             for names in phrases]  # fmt: skip
    expected = run(shared_pipe, **tracks, phrases=phrases)
    assert close(run(shared_pipe, **tracks, phrases=None, phrase_embeds=given), expected)
    assert close(run(shared_pipe, phrases=None, phrase_embeds=given[0]), run(shared_pipe))
    assert close(run(shared_pipe, phrases=None, phrase_embeds=given[0][None], boxes=[track()]), run(shared_pipe))


def test_a_pipeline_without_text_encoder_takes_embeddings(pipe, tmp_path):
    text, null_text = pipe.encode_prompt("a cat runs")
    phrases = encode_phrases(pipe.tokenizer, pipe.text_encoder, ["cat"])
    embeds = {"prompt": None, "prompt_embeds": text, "phrases": None, "phrase_embeds": phrases}
    guided, plain = run(pipe), run(pipe, guidance_scale=1.0)
    pipe.register_modules(text_encoder=None, tokenizer=None)
    pipe.save_pretrained(tmp_path)
    bare = SMCDPipeline.from_pretrained(tmp_path)
    bare.set_progress_bar_config(disable=True)
    assert close(run(bare, **embeds, guidance_scale=1.0), plain)
    assert close(run(bare, **embeds, guidance_scale=1.0, callback_on_step_end=lambda *_: {}), plain)
    assert close(run(bare, **embeds, negative_prompt_embeds=null_text), guided)
    for lacking in ({"negative_prompt_embeds": None}, {"prompt": "a cat", "prompt_embeds": None}):
        with pytest.raises(ValueError, match="without a text encoder, give prompt_embeds, negative_prompt_embeds"):
            run(bare, **embeds | lacking)


def test_no_null_text_is_encoded_where_none_is_needed(shared_pipe):
    texts = []
    hook = shared_pipe.text_encoder.register_forward_pre_hook(lambda _, args: texts.append(len(args[0])))
    run(shared_pipe, guidance_scale=1.0)
    assert texts == [1, 1]  # the prompt and the phrase
    run(shared_pipe, guidance_scale=1.0, text_image_guidance_scale=1.0)
    hook.remove()
    assert texts == [1, 1, 1, 1, 1]
