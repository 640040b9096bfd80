"""SMCDPipeline as a user calls it."""

import numpy as np
import PIL.Image
import pytest
import torch
from accelerate import cpu_offload
from diffusers import (
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet3DConditionModel,
    UniPCMultistepScheduler,
)
from diffusers.hooks import apply_group_offloading

from smcd import SMCDPipeline
from smcd.sprites.tiny import tiny_pipeline
from tests.conftest import open_gates


def picture(seed: int = 0, size: tuple[int, int] = (50, 40)) -> PIL.Image.Image:
    pixels = np.random.RandomState(seed).rand(size[1], size[0], 3) * 255
    return PIL.Image.fromarray(pixels.astype(np.uint8))


def track(objects: int = 1, frames: int = 3) -> list:
    return [[[0.1 * n, 0.1, 0.1 * n + 0.3 + 0.05 * f, 0.6] for n in range(objects)] for f in range(frames)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def arguments(**changes) -> dict:
    return {
        "prompt": "a cat runs",
        "image": picture(),
        "boxes": track(),
        "phrases": ["cat"],
        "num_frames": 3,
        "height": 32,
        "width": 48,
        "num_inference_steps": 3,
        "generator": generator(),
        "output_type": "latent",
    } | changes


def run(pipe: SMCDPipeline, **changes):
    return pipe(**arguments(**changes)).frames


def close(a, b, atol=1e-4) -> bool:
    return torch.allclose(torch.as_tensor(a), torch.as_tensor(b), atol=atol)


def test_output_types(shared_pipe):
    floats = run(shared_pipe, output_type="np")
    assert floats.shape == (1, 3, 32, 48, 3)
    assert 0 <= floats.min() < floats.max() <= 1
    tensors = run(shared_pipe, output_type="pt")
    assert tensors.shape == (1, 3, 3, 32, 48)
    np.testing.assert_allclose(tensors.permute(0, 1, 3, 4, 2).numpy(), floats, atol=1e-6)
    pil = run(shared_pipe, output_type="pil")
    assert [len(clip) for clip in pil] == [3]
    assert pil[0][0].size == (48, 32)
    assert run(shared_pipe).shape == (1, 4, 3, 4, 6)


def test_tuple_output(shared_pipe):
    assert torch.equal(shared_pipe(**arguments(), return_dict=False)[0], run(shared_pipe))


def test_the_same_seed_gives_the_same_video_and_another_another(shared_pipe):
    assert torch.equal(run(shared_pipe), run(shared_pipe))
    assert not close(run(shared_pipe), run(shared_pipe, generator=generator(1)), atol=1e-2)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a dog sleeps"},
        {"image": picture(9)},
        {"image": None},
        {"boxes": track(2), "phrases": ["cat", "dog"]},
        {"boxes": None, "phrases": None},
        {"phrases": ["zebra"]},
        {"boxes": [[None]] * 3},
        {"negative_prompt": "blurry"},
        {"guidance_scale": 2.0},
        {"image_guidance_scale": 1.0},
        {"text_image_guidance_scale": 1.0},
        {"box_guidance_scale": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_input_matters(shared_pipe, change):
    assert not close(run(shared_pipe), run(shared_pipe, **change))


def test_guidance_branches_one_after_the_other_give_the_same(shared_pipe, monkeypatch):
    scales = {"image_guidance_scale": 1.0, "text_image_guidance_scale": 0.5, "box_guidance_scale": 2.0}
    sizes = []
    forward = shared_pipe.unet.forward
    monkeypatch.setattr(shared_pipe.unet, "forward", lambda x, *a, **k: sizes.append(len(x)) or forward(x, *a, **k))
    assert close(run(shared_pipe, **scales), run(shared_pipe, **scales, low_memory=True))
    assert sizes == [5] * 3 + [1] * 15


def test_a_clip_does_not_depend_on_its_batch(shared_pipe):
    batch = run(
        shared_pipe,
        prompt=["a cat runs", "a dog sleeps on a mat", "rain"],
        image=[picture(), picture(1, (30, 60)), None],
        boxes=[track(), track(3), None],
        phrases=[["cat"], ["dog", "mat", "bowl"], None],
        generator=[generator(i) for i in range(3)],
    )
    alone = [
        run(shared_pipe),
        run(
            shared_pipe,
            prompt="a dog sleeps on a mat",
            image=picture(1, (30, 60)),
            boxes=track(3),
            phrases=["dog", "mat", "bowl"],
            generator=generator(1),
        ),
        run(shared_pipe, prompt="rain", image=None, boxes=None, phrases=None, generator=generator(2)),
    ]
    for clip, expected in zip(batch, alone, strict=True):
        assert close(clip, expected[0])


def test_one_image_and_one_track_go_for_all_prompts(shared_pipe):
    seeds = [generator(0), generator(0)]
    clips = run(shared_pipe, prompt=["a cat runs", "a cat runs"], generator=seeds)
    assert close(clips[0], clips[1])
    assert close(clips[:1], run(shared_pipe))


def test_one_generator_for_a_batch_gives_each_clip_its_own_noise(shared_pipe):
    clips = run(shared_pipe, prompt=["a cat runs"] * 2)
    assert not close(clips[0], clips[1], atol=1e-2)
    assert torch.equal(clips, run(shared_pipe, prompt=["a cat runs"] * 2))


def test_boxes_absent_everywhere_equal_dropped_boxes_not_missing_ones(shared_pipe):
    eight_absent = run(shared_pipe, boxes=[[None] * 8] * 3, phrases=["cat"] * 8)
    assert close(run(shared_pipe, boxes=None, phrases=None), eight_absent)
    assert not close(run(shared_pipe, boxes=[[None]] * 3), eight_absent)


def test_image_forms_are_the_same(shared_pipe):
    image = picture(size=(48, 32))
    floats = np.asarray(image, dtype=np.float32) / 255
    expected = run(shared_pipe, image=image)
    tensor = torch.from_numpy(floats).permute(2, 0, 1)
    for form in (np.asarray(image), floats, tensor, (255 * tensor).round().byte(), [image]):
        assert close(run(shared_pipe, image=form), expected)


def test_latents_and_prompt_embeds_stand_for_generator_and_prompt(shared_pipe):
    noise = torch.randn(1, 4, 3, 4, 6, generator=generator())
    text, null_text = shared_pipe.encode_prompt("a cat runs")
    given = run(
        shared_pipe,
        prompt=None,
        prompt_embeds=text,
        negative_prompt_embeds=null_text,
        latents=noise,
        image=None,
        generator=None,
    )
    assert close(given, run(shared_pipe, image=None))


def test_guidance_scales_up_to_one_skip_the_null_branch(shared_pipe, monkeypatch):
    sizes = []
    forward = shared_pipe.unet.forward
    monkeypatch.setattr(shared_pipe.unet, "forward", lambda x, *a, **k: sizes.append(len(x)) or forward(x, *a, **k))
    run(shared_pipe, guidance_scale=1.0)
    run(shared_pipe, guidance_scale=0.0)
    run(shared_pipe, guidance_scale=1.5)
    assert sizes == [1] * 6 + [2] * 3


def test_text_guidance_is_the_pipelines_own_where_none_is_given(shared_pipe):
    given = shared_pipe.components
    assert close(run(shared_pipe), run(shared_pipe, guidance_scale=7.5))
    assert close(run(SMCDPipeline(**given, guidance_scale=1.0)), run(shared_pipe, guidance_scale=1.0))
    assert not close(run(shared_pipe), run(shared_pipe, guidance_scale=1.0))


def test_callback_sees_and_changes_the_latents(shared_pipe):
    steps = []

    def callback(pipe, step, timestep, tensors):
        steps.append((step, int(timestep)))
        assert set(tensors) == {"latents"}
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else {}

    assert run(shared_pipe, callback_on_step_end=callback).abs().sum() == 0
    assert steps == [(0, 667), (1, 334), (2, 1)]


def test_callback_changes_prompt_and_guidance(shared_pipe):
    other, _ = shared_pipe.encode_prompt("a dog sleeps")

    def change_prompt(pipe, step, timestep, tensors):
        return {"prompt_embeds": other} if step == 0 else {}

    def change_guidance(pipe, step, timestep, tensors):
        pipe._guidance_scale = 2.0
        return {}

    assert shared_pipe.num_timesteps == 0 or shared_pipe.num_timesteps == 3
    plain = run(shared_pipe)
    assert shared_pipe.num_timesteps == 3
    inputs = ["latents", "prompt_embeds"]
    changed = run(shared_pipe, callback_on_step_end=change_prompt, callback_on_step_end_tensor_inputs=inputs)
    assert not close(changed, plain)
    assert not close(run(shared_pipe, callback_on_step_end=change_guidance), plain)


@pytest.mark.parametrize(("before", "after"), [(7.5, 0.0), (1.0, 7.5)])
def test_guidance_switched_off_or_on_by_a_callback(shared_pipe, before, after):
    def switch(pipe, step, timestep, tensors):
        pipe._guidance_scale = after
        return {}

    def back_to_noise(pipe, step, timestep, tensors):
        switch(pipe, step, timestep, tensors)
        return {"latents": noise} if step == 0 else {}

    noise = torch.randn(1, 4, 3, 4, 6, generator=generator())
    switched = run(shared_pipe, guidance_scale=before, callback_on_step_end=back_to_noise)
    assert not close(switched, run(shared_pipe, guidance_scale=before, callback_on_step_end=lambda *_: {}))

    def only_noise(pipe, step, timestep, tensors):
        return {"latents": noise} if step == 0 else {}

    assert close(switched, run(shared_pipe, guidance_scale=after, callback_on_step_end=only_noise))


def test_one_frame(shared_pipe):
    frames = run(shared_pipe, num_frames=1, boxes=track(frames=1), output_type="np")
    assert frames.shape == (1, 1, 32, 48, 3)


def test_layerwise_casting_and_autocast(pipe):
    expected = run(pipe)
    with torch.autocast("cpu", torch.bfloat16):
        assert (run(pipe) - expected).abs().mean() < 0.1
    for network in (pipe.unet, pipe.image_encoder, pipe.position_net):
        network.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
    assert (run(pipe) - expected).abs().mean() < 0.1


def test_interrupt_stops_the_denoising(shared_pipe):
    seen = []

    def callback(pipe, step, timestep, tensors):
        seen.append(step)
        pipe._interrupt = True
        return {}

    run(shared_pipe, callback_on_step_end=callback)
    assert seen == [0]
    assert shared_pipe.interrupt
    run(shared_pipe)
    assert not shared_pipe.interrupt


@pytest.mark.parametrize(
    "scheduler",
    [DPMSolverMultistepScheduler, UniPCMultistepScheduler, EulerDiscreteScheduler],
    ids=lambda s: s.__name__,
)
def test_other_schedulers(pipe, scheduler):
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    frames = run(pipe, output_type="np")
    assert np.isfinite(frames).all()


def test_bfloat16_is_close_to_float32(pipe, tmp_path):
    expected = run(pipe, output_type="np")
    pipe.save_pretrained(tmp_path)
    half = SMCDPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    half.set_progress_bar_config(disable=True)
    assert half.unet.dtype == torch.bfloat16
    assert half.position_net.dtype == torch.float32
    assert np.abs(run(half, output_type="np") - expected).mean() < 0.02


def test_save_and_load(pipe, tmp_path):
    expected = run(pipe)
    pipe.save_pretrained(tmp_path)
    assert sorted(path.suffix for path in (tmp_path / "unet").iterdir()) == [".json", ".safetensors"]
    loaded = SMCDPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(run(loaded), expected)
    other = open_gates(tiny_pipeline(seed=1)).unet
    changed = SMCDPipeline.from_pretrained(tmp_path, unet=other)
    changed.set_progress_bar_config(disable=True)
    assert changed.unet is other
    assert not close(run(changed), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("paths", "image", "boxes"),
    [
        ({"object_gate": False, "image_gate": False, "image_concat": False}, False, False),
        ({"image_gate": False, "image_concat": False}, False, True),
        ({"image_gate": False}, True, True),
        ({"image_concat": False}, True, True),
    ],
    ids=["base", "boxes only", "zero conv alone", "gated cross-attention alone"],
)
def test_ablations_run_save_and_refuse_what_they_lack(paths, image, boxes, tmp_path):
    pipe = open_gates(tiny_pipeline(**paths))
    inputs = {} if image else {"image": None}
    inputs |= {} if boxes else {"boxes": None, "phrases": None}
    expected = run(pipe, **inputs)
    pipe.save_pretrained(tmp_path)
    loaded = SMCDPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(run(loaded, **inputs), expected)
    if not image:
        with pytest.raises(ValueError, match="no image path"):
            run(pipe, **{**inputs, "image": picture()})
    if not boxes:
        with pytest.raises(ValueError, match="no object gate"):
            run(pipe, **{**inputs, "boxes": track(), "phrases": ["cat"]})


def test_vae_slicing_gives_the_same(pipe):
    expected = run(pipe, output_type="np")
    pipe.enable_vae_slicing()
    np.testing.assert_allclose(run(pipe, output_type="np"), expected, atol=1e-5)


@pytest.mark.parametrize("settings", [{"offload_type": "leaf_level"}, {"offload_type": "block_level"}], ids=str)
def test_offloading_hooks_change_nothing_and_spare_the_cache(pipe, settings, monkeypatch):
    expected = run(pipe)
    cpu = torch.device("cpu")
    blocks = {"num_blocks_per_group": 1} if settings["offload_type"] == "block_level" else {}
    for network in (pipe.unet, pipe.position_net, pipe.image_encoder):
        apply_group_offloading(network, onload_device=cpu, offload_device=cpu, **settings, **blocks)
    text_keys = pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k
    calls = []
    text_keys.register_forward_hook(lambda *_: calls.append(1))
    assert close(run(pipe), expected)
    assert len(calls) == 1


def test_sequential_offloading(pipe):
    expected = run(pipe)
    for network in (pipe.text_encoder, pipe.unet, pipe.position_net, pipe.image_encoder, pipe.vae):
        cpu_offload(network, execution_device="cpu", offload_buffers=False)
    assert pipe.unet.device.type == "meta"
    assert close(run(pipe), expected)


def test_an_exception_in_the_middle_leaves_the_pipeline_usable(pipe):
    expected = run(pipe)

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pipe, callback_on_step_end=interrupt)
    assert torch.equal(run(pipe), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 41}, "height 41 is not a multiple of 16: the nearest is 48"),
        ({"width": 7}, "width 7 is not a multiple of 16: the nearest is 16"),
        ({"num_frames": 0, "boxes": None, "phrases": None}, "num_frames is 0"),
        ({"prompt": None}, "either prompt or prompt_embeds"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"output_type": "foo"}, "output_type is 'foo'"),
        ({"prompt": 3}, "a string or a list of strings"),
        ({"phrases": None}, "boxes and phrases go together"),
        ({"phrases": "cat"}, "phrases must be a list"),
        ({"phrases": ["cat", "dog"]}, "boxes of 1 objects, but 2 phrases"),
        ({"num_frames": 4}, "boxes for 3 frames, but num_frames is 4"),
        ({"boxes": [[[0, 0, 1, 1]], [], []]}, "frame 1: 0 boxes"),
        ({"boxes": [[[10, 10, 100, 100]]] * 3}, "divide pixels by the image's width"),
        ({"boxes": [[[0.5, 0.5, 0.2, 0.2]]] * 3}, "is empty"),
        ({"boxes": [[[0.1, float("nan"), 0.2, 0.2]]] * 3}, "four finite numbers"),
        ({"generator": [generator(), generator()]}, "2 generators for 1 clips"),
        ({"image": [picture(), picture()]}, "2 images for 1 prompts"),
        ({"latents": torch.zeros(1, 4, 3, 4, 4)}, r"latents are \(1, 4, 3, 4, 4\), expected \(1, 4, 3, 4, 6\)"),
        ({"callback_on_step_end_tensor_inputs": ["objects"]}, "must be among"),
    ],
)
def test_what_does_not_fit_is_refused(shared_pipe, changes, message):
    with pytest.raises(ValueError, match=message):
        run(shared_pipe, **changes)


def test_only_epsilon_and_velocity_prediction_are_accepted(pipe):
    for other in (
        FlowMatchEulerDiscreteScheduler(),
        EulerDiscreteScheduler.from_config(pipe.scheduler.config, prediction_type="sample"),
    ):
        pipe.scheduler = other
        with pytest.raises(ValueError, match="must be 'epsilon' or 'v_prediction'"):
            run(pipe)


@pytest.mark.parametrize("kind", [FlowMatchEulerDiscreteScheduler, EDMEulerScheduler, UniPCMultistepScheduler])
def test_schedulers_that_add_noise_in_another_way_are_refused(pipe, kind):
    flow = {"use_flow_sigmas": True} if kind is UniPCMultistepScheduler else {}
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **flow)
    assert pipe.scheduler.config["prediction_type"] == "epsilon"  # carried along
    with pytest.raises(ValueError, match=f"the scheduler is a {kind.__name__}, which adds noise in another way"):
        run(pipe)


def test_components_make_a_pipeline_of_the_same_size_and_guidance(pipe):
    pipe.register_to_config(frame_height=32, frame_width=48, guidance_scale=2.5)
    for made in (SMCDPipeline(**pipe.components), SMCDPipeline(**pipe.components, **pipe.parameters)):
        assert (made.config.frame_height, made.config.frame_width, made.config.guidance_scale) == (32, 48, 2.5)
        assert made.guidance_scale == 2.5
    assert SMCDPipeline(**pipe.components, frame_width=64).parameters == pipe.parameters | {"frame_width": 64}


def test_a_base_alone_is_no_model(pipe):
    blocks = {"down_block_types": ("DownBlock3D",) * 2, "up_block_types": ("UpBlock3D",) * 2}
    widths = {"block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": 64}
    pipe.register_modules(unet=UNet3DConditionModel(**blocks, **widths, attention_head_dim=16))
    with pytest.raises(ValueError, match="no SMCDUNet3D"):
        run(pipe)


def test_a_scheduler_with_velocity_prediction_reads_the_networks_output_so(pipe):
    """With v = sqrt(a) noise - sqrt(1 - a) latents, the first DDIM step differs from that with predicted noise."""
    outputs = []
    for prediction in ("epsilon", "v_prediction"):
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, prediction_type=prediction)
        outputs.append(run(pipe))
    assert outputs[1].isfinite().all()
    assert not close(*outputs)
