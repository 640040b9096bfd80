"""What a run does besides its steps: validation, trackers, failures, precisions, starts."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from smcd import SMCDPipeline
from smcd.config import DataConfig, SamplingConfig, TrainConfig, check
from smcd.runtime.errors import InputError
from smcd.sprites.tiny import tiny_pipeline
from smcd.training import checkpoint
from smcd.training.loop import resolved
from smcd.training.objective import TrainedNetworks
from tests.conftest import open_gates
from tests.training import runs

IMAGES = DataConfig(n_sample_frames=1, **runs.SPRITES)


def forward_with(monkeypatch, change) -> None:
    forward = TrainedNetworks.forward
    monkeypatch.setattr(TrainedNetworks, "forward", lambda self, example: change(forward(self, example)))


def test_the_outputs_of_a_run(tmp_path):
    report_to = ["jsonl", "tensorboard"]
    settings = runs.config(tmp_path / "out", max_train_steps=4, validation_steps=2, report_to=report_to)
    out = runs.run(replace(settings, checkpoints_total_limit=1))
    assert [path.name for path in checkpoint.all_in(out)] == ["checkpoint-4"]
    names = {"checkpoint-4", "config.yaml", "logs", "metrics.jsonl", "pipeline", "validation", "versions.json"}
    assert {path.name for path in out.iterdir()} <= names
    assert sorted(path.name for path in (out / "validation").iterdir()) == ["step-2", "step-4"]
    made = {path.name for path in (out / "validation" / "step-4").iterdir()}
    assert made == {"losses.json", "clip-0.gif", "clip-0.png", "clip-0.txt"}
    versions = json.loads((out / "versions.json").read_text())
    assert versions["torch"] == torch.__version__
    assert list(runs.metrics(out, "validation/loss")) == [2, 4]
    gates = [key for key in json.loads((out / "metrics.jsonl").read_text().splitlines()[0]) if key.startswith("gate/")]
    assert gates
    assert all(".image_gate.alpha_" in key for key in gates)
    events = EventAccumulator(str(out / "logs" / "smcd")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
    assert [image.step for image in events.Images("validation/0")] == [2, 4]


def test_validation_is_fixed_and_does_not_change_training(tmp_path):
    settings = runs.config(tmp_path / "with", max_train_steps=2, validation_steps=1, learning_rate=1e-12)
    runs.run(settings)
    runs.run(replace(settings, output_dir=str(tmp_path / "without"), validation_steps=0))
    first, second = runs.metrics(tmp_path / "with", "validation/loss").values()
    assert first == pytest.approx(second, rel=1e-6)
    runs.assert_same_checkpoint(tmp_path / "with" / "checkpoint-2", tmp_path / "without" / "checkpoint-2")


@pytest.mark.parametrize(
    ("start", "counting"),
    [
        ({"gate_init": 0.0}, set()),
        ({"gate_init": 1.0, "cat_init": True}, {"boxes"}),  # the image's only way is the zero conv, which is closed
        ({"tune_from_ckpt_path": "open"}, {"boxes", "image"}),
    ],
)
def test_validation_says_which_conditions_count(tmp_path, monkeypatch, start, counting):
    monkeypatch.chdir(tmp_path)
    open_gates(tiny_pipeline()).save_pretrained("open")
    settings = runs.config(tmp_path / "out", max_train_steps=1, learning_rate=1e-12, validation_steps=1, **start)
    runs.run(settings)
    names = ("", "_without_boxes", "_without_image")
    loss, *without = (runs.metrics(tmp_path / "out", f"validation/loss{name}")[1] for name in names)
    differing = {name for name, other in zip(("boxes", "image"), without, strict=True) if abs(other / loss - 1) > 1e-6}
    assert differing == counting


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_clips(tmp_path, monkeypatch, value):
    settings = runs.config(tmp_path / "out", max_train_steps=1)
    runs.run(settings)
    forward_with(monkeypatch, lambda losses: losses * value)
    with pytest.raises(InputError, match=r"step 2: the loss is not finite.*checkpoint-1 is as it was"):
        runs.run(replace(settings, max_train_steps=3, gradient_accumulation_steps=2, train_batch_size=1))
    content = json.loads((tmp_path / "out" / "failed-step-2-process-0.json").read_text())
    assert len(content["clips"]) == len(content["losses"]) == 2
    assert content["clips"][0].startswith("sprites/0/")
    assert checkpoint.latest_in(tmp_path / "out").name == "checkpoint-1"


def test_an_infinite_gradient_stops_a_run_without_a_scaler(tmp_path, monkeypatch):
    forward_with(monkeypatch, lambda losses: losses + (losses - losses.detach()).sqrt() * 0 + losses * 0)
    with pytest.raises(InputError, match="step 1: the gradient is not finite"):
        runs.run(runs.config(tmp_path / "out", max_train_steps=1))
    assert not checkpoint.all_in(tmp_path / "out")


def test_sample_videos_have_absent_objects_and_their_own_length(tmp_path, monkeypatch):
    calls, call = [], SMCDPipeline.__call__
    monkeypatch.setattr(SMCDPipeline, "__call__", lambda *given, **named: calls.append(given) or call(*given, **named))
    data = DataConfig(n_sample_frames=3, sprites_seed=1, **{**runs.SPRITES, "num_max_obj": 9})
    runs.run(runs.config(tmp_path / "out", max_train_steps=1, validation_steps=1, eval_data=data))
    ((_, _, _, boxes, phrases),) = calls
    assert len(phrases) == 9
    assert "" in phrases
    assert [len(of_frame) for of_frame in boxes] == [9, 9]  # frames of video_length, not all three


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), InputError, "not enough memory: try --gradient_checkpointing"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), InputError, "not enough memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), RuntimeError, "illegal memory access"),
    ],
)
def test_out_of_memory_says_what_helps(tmp_path, monkeypatch, error, expected, message):
    def too_large(losses):
        raise error

    forward_with(monkeypatch, too_large)
    with pytest.raises(expected, match=message):
        runs.run(runs.config(tmp_path / "out", max_train_steps=1))


def test_only_what_trains_changes_and_the_rest_is_exported_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("smcd.runtime.precision.cpu_computes_bfloat16", lambda: True)  # slowly, on some
    pipe = open_gates(tiny_pipeline())
    pipe.save_pretrained(tmp_path / "start")
    # 64 pixels: torch's bfloat16 convolutions on a CPU give garbage gradients of weights for 1 x 1 inputs with stride 2
    data = DataConfig(**{**runs.SPRITES, "width": 64, "height": 64}, n_sample_frames=2)
    # 2 steps: the first one does not reach into an image encoder's fresh branches
    settings = runs.config(tmp_path / "out", max_train_steps=2, pretrained_model_path=str(tmp_path / "start"))
    runs.run(replace(settings, mixed_precision="bf16", train_data=data))
    made = SMCDPipeline.from_pretrained(tmp_path / "out" / "pipeline")
    trained = load_file(tmp_path / "out" / "checkpoint-2" / "trained.safetensors")
    for part in ("unet", "position_net", "image_encoder"):
        before = getattr(pipe, part).state_dict()
        for name, tensor in getattr(made, part).state_dict().items():
            changed = not torch.equal(tensor, before[name])
            assert changed == (f"{part}.{name}" in trained), name
            if changed:
                assert torch.equal(tensor, trained[f"{part}.{name}"])
                assert tensor.dtype == torch.float32
    assert torch.equal(made.text_encoder.final_layer_norm.weight, pipe.text_encoder.final_layer_norm.weight)


def test_a_longer_run_exports_anew(tmp_path):
    settings = runs.config(tmp_path / "out", max_train_steps=1)
    weights = []
    for steps in (1, 2):
        runs.run(replace(settings, max_train_steps=steps))
        weights.append(SMCDPipeline.from_pretrained(tmp_path / "out" / "pipeline").unet.conv_in.weight)
    assert not torch.equal(*weights)


def test_stage_base_with_text_encoder_on_single_images(tmp_path):
    settings = runs.config(
        tmp_path / "out",
        stage="base",
        use_img_free_guidance=False,
        train_text_encoder=True,
        snr_gamma=5.0,
        max_train_steps=2,
        validation_steps=2,
        train_data=IMAGES,
        eval_data=IMAGES,
    )
    out = runs.run(settings)
    trained = load_file(out / "checkpoint-2" / "trained.safetensors")
    assert "text_encoder.final_layer_norm.weight" in trained
    assert not any("temp_" in name for name in trained)
    made = SMCDPipeline.from_pretrained(out / "pipeline")
    assert torch.equal(made.text_encoder.final_layer_norm.weight, trained["text_encoder.final_layer_norm.weight"])
    assert not made.unet.config.object_gate
    again = runs.run(replace(settings, max_train_steps=3))  # and a video stage goes on from it
    video = replace(settings, train_data=settings.eval_data, tune_from_ckpt_path=str(again))
    video = replace(video, train_data=replace(IMAGES, n_sample_frames=2), output_dir=str(tmp_path / "video"))
    assert any("temp_" in name for name in load_file(runs.run(video) / "checkpoint-2" / "trained.safetensors"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_train_steps": 0}, "max_train_steps is 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"gate_init": math.nan}, "gate_init is nan"),
        ({"validation_data": SamplingConfig(guidance_scale=math.nan)}, "guidance_scale is nan"),
        ({"validation_data": SamplingConfig(num_inference_steps=0)}, "num_inference_steps is 0"),
        (
            {"validation_steps": 5, "validation_videos": 1, "validation_data": SamplingConfig(width=40)},
            "validation_data.width is 40",
        ),
        (
            {"validation_steps": 5, "validation_videos": 1, "validation_data": SamplingConfig(num_inference_steps=501)},
            "validation_data.num_inference_steps is 501; this noise schedule takes at most 500",
        ),
        ({"output_dir": " "}, "output_dir is empty"),
        ({"stage": "3"}, "stage is '3'; choose from 1, 2, base"),
        ({"report_to": ["jsonl", "mlflow"]}, "report_to is 'mlflow'"),
        ({"pretrained_model_path": "/nowhere"}, "/nowhere: no such folder"),
        ({"tune_from_ckpt_path": "/nowhere"}, "/nowhere: no such folder"),
        ({"train_data": DataConfig()}, "no data: name the folder that holds them"),
        ({"train_data": DataConfig(path=".")}, "no weights: name the base, --pretrained_model_path"),
        ({"lr_warmup_steps": 5}, "lr_warmup_steps needs --lr_scheduler constant_with_warmup"),
        (
            {"train_data": DataConfig(**runs.SPRITES | {"width": 40})},
            "train_data.width is 40; this model takes multiples",
        ),
        ({"validation_steps": 5, "eval_data": DataConfig(**runs.SPRITES | {"height": 8})}, "eval_data.height is 8"),
        ({"pretrained_weight_path": "unet.bin"}, "pretrained_weight_path gives a UNet"),
    ],
)
def test_bad_settings(tmp_path, changes, message):
    with pytest.raises(InputError) as error:
        runs.run(runs.config(tmp_path / "out", **changes))
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_without_validation_data_nothing_is_validated(caplog):
    """The published files have `validation_steps`, and no `eval_data`."""
    settings = TrainConfig(validation_steps=50_000, train_data=DataConfig(path="."), tune_from_ckpt_path="sprites")
    check(settings)
    assert resolved(settings).validation_steps == 0
    assert "eval_data names no data: nothing will be validated" in caplog.text


def test_stage_1_is_validated_on_single_frames_of_videos(tmp_path):
    """The published stage-1 file names videos in eval_data."""
    settings = runs.config(
        tmp_path / "out",
        stage="1",
        use_img_free_guidance=False,
        max_train_steps=1,
        validation_steps=1,
        train_data=IMAGES,
    )
    assert settings.eval_data.n_sample_frames == 2
    out = runs.run(settings)
    assert list(runs.metrics(out, "validation/loss")) == [1]
    assert list(runs.metrics(out, "validation/loss_without_boxes")) == [1]
    assert "loss_without_image" not in (out / "metrics.jsonl").read_text()  # it has none
    assert (out / "validation" / "step-1" / "clip-0.png").is_file()
