"""A run that was killed, stopped or divided among processes ends as one that was not."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from smcd.config import DataConfig, GligenConfig, TrainConfig
from smcd.data.mixing import ClipLoader
from smcd.runtime.command import command
from smcd.runtime.errors import InputError
from smcd.runtime.media import write_image
from smcd.sprites.tiny import tiny_pipeline
from smcd.training import checkpoint, loop
from smcd.training.export import export
from smcd.training.loop import train
from smcd.training.resume import check_same, settings_of
from smcd.training.run import clips_and_rate
from smcd.training.stages import stage_of
from tests.conftest import open_gates
from tests.training import runs

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """12 steps without interruption."""
    process = runs.start(train, runs.config(tmp_path_factory.mktemp("straight") / "out", use_ema=True))
    process.join()
    assert process.exitcode == 0
    out = next(tmp_path_factory.getbasetemp().glob("straight*/out"))
    return out


@pytest.mark.parametrize("trial", range(3))
def test_kill_and_rerun_end_bitwise_equal(straight, tmp_path, trial):
    expected, rng = straight, random.Random(trial)
    settings = runs.config(tmp_path / "out", use_ema=True, checkpointing_steps=1)
    process = runs.start(train, settings)
    step = rng.randrange(11)
    while process.is_alive() and not runs_to(tmp_path / "out", step):
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.05))  # in the middle of a step, or of a checkpoint
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    for path in checkpoint.all_in(tmp_path / "out"):
        checkpoint.read(path)  # whatever has the name of a checkpoint is whole
    rerun = runs.start(train, settings)
    rerun.join()
    assert rerun.exitcode == 0
    runs.assert_same_checkpoint(tmp_path / "out" / "checkpoint-12", expected / "checkpoint-12")
    assert not list((tmp_path / "out").glob(".*"))
    losses = runs.metrics(tmp_path / "out")
    assert losses == runs.metrics(expected)
    assert len(losses) == 12


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(20))
def test_kill_and_rerun_the_command(straight, tmp_path, trial):
    settings = runs.config(tmp_path / "out", use_ema=True, checkpointing_steps=2, num_workers=1)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(plain(settings)))
    command = [sys.executable, "ms_main.py", "--config", str(file)]
    started = time.monotonic()
    one_thread = os.environ | {
        "OMP_NUM_THREADS": "1"
    }  # as the run that it is compared with: sums are in the same order
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL, env=one_thread)
    wait = random.Random(trial).uniform(3, 14)
    while time.monotonic() - started < wait and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    for path in checkpoint.all_in(tmp_path / "out"):
        checkpoint.read(path)
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=one_thread)
    assert done.returncode == 0, done.stderr
    runs.assert_same_checkpoint(tmp_path / "out" / "checkpoint-12", straight / "checkpoint-12")


def plain(settings) -> dict:
    return {key: value for key, value in asdict(settings).items() if value is not None}


def test_ctrl_c_finishes_the_step_and_the_rerun_goes_on(straight, tmp_path):
    settings = runs.config(tmp_path / "out", use_ema=True, checkpointing_steps=100)
    process = runs.start(train, settings)
    while not runs_to(tmp_path / "out", 3):
        assert process.is_alive()
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    (left,) = checkpoint.all_in(tmp_path / "out")
    step = checkpoint.read_info(left)["step"]
    assert step == max(runs.metrics(tmp_path / "out")) < 12
    assert not (tmp_path / "out" / "pipeline").exists()
    rerun = runs.start(train, settings)
    rerun.join()
    assert rerun.exitcode == 0
    runs.assert_same_checkpoint(tmp_path / "out" / "checkpoint-12", straight / "checkpoint-12")


def test_all_processes_stop_after_the_same_step(tmp_path):
    settings = runs.config(tmp_path / "out", max_train_steps=1000, checkpointing_steps=1000)
    processes = runs.start_processes(settings, 2)
    while not runs_to(tmp_path / "out", 2):
        assert all(process.is_alive() for process in processes)
        time.sleep(0.005)
    os.kill(processes[1].pid, signal.SIGTERM)  # one of them alone
    assert runs.exit_codes(processes) == [143, 143]
    (left,) = checkpoint.all_in(tmp_path / "out")
    assert checkpoint.read_info(left)["step"] == max(runs.metrics(tmp_path / "out"))


def test_a_signal_to_the_whole_group_leaves_a_checkpoint_too(tmp_path):
    """As a scheduler sends it: to the processes that read data, too."""
    settings = runs.config(tmp_path / "out", max_train_steps=1000, checkpointing_steps=1000, num_workers=2)
    process = runs.start(_train_in_a_group, settings)
    while not runs_to(tmp_path / "out", 2):
        assert process.is_alive()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGTERM)
    assert runs.exit_codes([process]) == [143]
    (left,) = checkpoint.all_in(tmp_path / "out")
    assert checkpoint.read_info(left)["step"] == max(runs.metrics(tmp_path / "out"))


def test_a_killed_data_process_ends_the_run_with_a_checkpoint(tmp_path):
    settings = runs.config(tmp_path / "out", max_train_steps=1000, checkpointing_steps=1000, num_workers=2)
    process = runs.start(train, settings)
    while not runs_to(tmp_path / "out", 2):
        assert process.is_alive()
        time.sleep(0.005)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(workers[0]), signal.SIGKILL)
    process.join(60)
    assert process.exitcode == 1
    (left,) = checkpoint.all_in(tmp_path / "out")
    assert checkpoint.read_info(left)["step"] == max(runs.metrics(tmp_path / "out"))


def test_training_goes_on_when_nobody_reads_its_output(tmp_path):
    settings = runs.config(tmp_path / "out", max_train_steps=2, num_workers=1)
    process = runs.start(_train_without_readers, settings)
    process.join(60)
    assert process.exitcode == 0
    assert (tmp_path / "out" / "pipeline").is_dir()


def test_an_error_ends_a_run_whose_data_processes_ignore_signals(tmp_path):
    settings = runs.config(tmp_path / "out", num_workers=1)
    process = runs.start(_fail_while_training, settings)
    process.join(60)
    assert process.exitcode == 2


def _train_without_readers(settings) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sys.stdout = sys.stderr = os.fdopen(writer, "w", buffering=1)
    with command():
        train(settings)


def _fail_while_training(settings) -> None:
    loop.check_numbers = lambda *_: (_ for _ in ()).throw(InputError("the loss is not finite"))
    with command():
        train(settings)


def _train_in_a_group(settings) -> None:
    os.setpgid(0, 0)
    train(settings)


def test_a_validation_that_is_repeated(tmp_path):
    """A run that was killed between a validation and the next checkpoint comes to that validation again."""
    settings = runs.config(tmp_path / "out", max_train_steps=3, checkpointing_steps=2, validation_steps=3)
    runs.run(settings)
    shutil.rmtree(tmp_path / "out" / "checkpoint-3")
    (tmp_path / "out" / "..checkpoint-new-pipeline.partial.1.partial").mkdir()
    with (tmp_path / "out" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    runs.run(settings)
    assert (tmp_path / "out" / "validation" / "step-3" / "clip-0.png").is_file()
    assert len(runs.metrics(tmp_path / "out", "validation/loss")) == 1
    assert not list((tmp_path / "out").glob(".*"))


def test_resuming_from_a_path_can_be_repeated(tmp_path):
    runs.run(runs.config(tmp_path / "first", max_train_steps=2, checkpointing_steps=1))
    settings = runs.config(
        tmp_path / "second", max_train_steps=3, resume_from_checkpoint=str(tmp_path / "first" / "checkpoint-1")
    )
    runs.run(settings)
    assert sorted(runs.metrics(tmp_path / "second")) == [2, 3]
    runs.run(replace(settings, max_train_steps=4))
    assert sorted(runs.metrics(tmp_path / "second")) == [2, 3, 4]


def test_a_run_keeps_the_weights_that_it_started_from(tmp_path):
    """Also when the run that they came from goes on."""
    images = replace(runs.config(tmp_path).train_data, n_sample_frames=1)
    first = runs.config(
        tmp_path / "first", stage="1", use_img_free_guidance=False, max_train_steps=1, train_data=images
    )
    runs.run(first)
    second = runs.config(tmp_path / "second", max_train_steps=1, tune_from_ckpt_path=str(tmp_path / "first"))
    runs.run(second)
    export(tmp_path / "second", tmp_path / "before")
    runs.run(replace(first, max_train_steps=2))
    export(tmp_path / "second", tmp_path / "after")
    before, after = (
        (tmp_path / name / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() for name in ("before", "after")
    )
    assert before == after
    with pytest.raises(InputError, match=r"tune_from_ckpt_path .*checkpoint-1' there, .*checkpoint-2' here"):
        runs.run(replace(second, max_train_steps=2))


def test_other_sets_of_gligen_are_another_config():
    def settings(*names):
        config = TrainConfig(stage="2", train_data=DataConfig(dataset_names={name: GligenConfig() for name in names}))
        return settings_of(asdict(config), stage_of(config), *clips_and_rate(config, 1))

    one, two = settings("FlickrGrounding"), settings("FlickrGrounding", "SBUGrounding")
    for then, now in ((one, two), (two, one)):
        with pytest.raises(InputError, match=r"train_data\.dataset_names\.SBUGrounding"):
            check_same(Path("checkpoint-1"), then, now)
    check_same(Path("checkpoint-1"), one, settings("FlickrGrounding"))


def test_a_world_is_known_by_what_it_is_not_by_its_name():
    def settings(world):
        config = TrainConfig(stage="2", train_data=DataConfig(datasets=["sprites"], sprites_world=world))
        return settings_of(asdict(config), stage_of(config), *clips_and_rate(config, 1))

    check_same(Path("checkpoint-1"), settings("built-in"), settings("built-in speed=0.45"))
    with pytest.raises(InputError, match=r"train_data\.sprites_world\.speed 0\.45 there, 0\.3 here\. Use"):
        check_same(Path("checkpoint-1"), settings("built-in"), settings("built-in speed=0.3"))


def runs_to(out: Path, step: int) -> bool:
    return not step or (
        (out / "metrics.jsonl").is_file() and len((out / "metrics.jsonl").read_text().splitlines()) >= step
    )


def test_resuming_goes_on_at_the_same_place_in_the_data(tmp_path, monkeypatch):
    seen: list[list[str]] = []
    batches = ClipLoader.batches

    def recorded(loader, start=0):
        for batch in batches(loader, start):
            seen.append(batch.names)
            yield batch

    monkeypatch.setattr(ClipLoader, "batches", recorded)
    settings = runs.config(tmp_path / "out", max_train_steps=6, gradient_accumulation_steps=2, train_batch_size=1)
    runs.run(replace(settings, output_dir=str(tmp_path / "straight")))
    straight, seen[:] = list(seen), []
    for steps in (2, 5, 6):
        runs.run(replace(settings, max_train_steps=steps))
    assert seen == straight
    assert len(straight) == 12
    assert len({name for names in straight for name in names}) == 12


def test_the_result_does_not_depend_on_the_number_of_processes(straight, tmp_path):
    one = runs.config(tmp_path / "one", train_batch_size=4, max_train_steps=6)
    no_dropout(one, tmp_path)
    two = replace(one, output_dir=str(tmp_path / "two"), train_batch_size=2)
    process = runs.start(train, one)
    process.join()
    runs.run_processes(two, 2)
    losses, others = runs.metrics(tmp_path / "one"), runs.metrics(tmp_path / "two")
    assert list(losses) == list(others) == [1, 2, 3, 4, 5, 6]
    assert list(others.values()) == pytest.approx(list(losses.values()), rel=1e-5)
    rates = list(runs.metrics(tmp_path / "two", "learning_rate").values())
    assert rates == pytest.approx([0, 2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])
    assert rates == list(runs.metrics(tmp_path / "one", "learning_rate").values())
    # And a run of two processes goes on with one of twice the batch.
    process = runs.start(train, replace(one, output_dir=str(tmp_path / "two"), max_train_steps=8))
    process.join()
    assert process.exitcode == 0
    assert list(runs.metrics(tmp_path / "two")) == list(range(1, 9))


def no_dropout(settings, tmp_path: Path) -> None:
    """Start from a pipeline without dropout, and with a schedule that changes."""
    pipe = open_gates(tiny_pipeline())
    pipe.unet.register_to_config(dropout=0.0)
    pipe.save_pretrained(tmp_path / "pipeline")
    settings.pretrained_model_path = str(tmp_path / "pipeline")
    settings.lr_scheduler, settings.lr_warmup_steps = "constant_with_warmup", 4


def test_another_config_is_refused_before_anything_is_loaded(tmp_path):
    settings = runs.config(tmp_path / "out", max_train_steps=1)
    runs.run(settings)
    elsewhere = replace(settings, pretrained_model_path=str(tmp_path / "no-such-folder"))
    with pytest.raises(InputError, match=r"pretrained_model_path None there, .*no-such-folder' here"):
        runs.run(elsewhere)
    with pytest.raises(InputError, match="no-such-folder") as error:  # which asks for no checkpoint
        runs.run(elsewhere, dry_run=True)
    assert "settings" not in str(error.value)


def test_a_checkpoint_of_another_config_is_refused_with_the_differences(tmp_path):
    settings = runs.config(tmp_path / "out", max_train_steps=1)
    runs.run(settings)
    with pytest.raises(InputError) as error:
        runs.run(replace(settings, max_train_steps=2, learning_rate=1e-4, train_batch_size=4))
    assert "learning_rate 0.001 there, 0.0001 here" in str(error.value)
    assert "clips of a step 2 there, 4 here" in str(error.value)
    same = {"train_batch_size": 1, "gradient_accumulation_steps": 2, "checkpointing_steps": 7}
    runs.run(replace(settings, max_train_steps=2, **same))
    assert checkpoint.latest_in(tmp_path / "out").name == "checkpoint-2"
    with pytest.raises(InputError, match="is there already, and would be mixed"):
        runs.run(replace(settings, resume_from_checkpoint="none"))
    with pytest.raises(InputError, match="is there already, and would be mixed"):
        runs.run(replace(settings, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1")))
    with pytest.raises(InputError, match="no checkpoint to resume from"):
        runs.run(replace(settings, resume_from_checkpoint=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("file", [checkpoint.TRAINED, checkpoint.EMA, checkpoint.STATE])
def test_a_checkpoint_with_one_wrong_bit_is_not_used(straight, tmp_path, file):
    path = Path(shutil.copytree(straight / "checkpoint-12", tmp_path / "checkpoint-12"))
    content = bytearray((path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (path / file).write_bytes(content)
    with pytest.raises(InputError, match=rf"{file}: is damaged.* Delete checkpoint-12, and the same command goes on"):
        checkpoint.read(path)
    if file == checkpoint.EMA:  # which is what is exported
        with pytest.raises(InputError, match="is damaged"):
            export(path, tmp_path / "model")


def test_data_that_changed_since_are_told_of(tmp_path, caplog):
    videos = tmp_path / "videos"
    for name in ("a", "b"):
        (videos / name).mkdir(parents=True)
        for frame in range(2):
            write_image(videos / name / f"{frame}.png", np.full((32, 32, 3), 9, np.uint8))
    labels = {"caption": "A dog.", "objects": [{"phrase": "dog", "boxes": {"0": [0, 0, 9, 9]}}]}
    (videos / "annotations.json").write_text(json.dumps({"a": labels, "b": labels}))
    data = DataConfig(name="videos", path=str(videos), n_sample_frames=2, width=32, height=32)
    settings = runs.config(tmp_path / "out", max_train_steps=1, train_data=data, pretrained_model_path="tiny")
    runs.run(settings)
    shutil.move(videos, tmp_path / "elsewhere")  # the same data
    shutil.copytree(tmp_path / "elsewhere", videos)
    runs.run(replace(settings, max_train_steps=2))
    assert "by now than there" not in caplog.text
    (videos / "annotations.json").write_text(json.dumps({"a": labels, "b": labels | {"caption": "A cat."}}))
    runs.run(replace(settings, max_train_steps=3))
    assert "checkpoint-2: other clips, boxes or captions are in videos/" in caplog.text


def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def train_with_little_room(settings, room: int) -> None:
    """A disk with `room` bytes for a file: writing more fails with an OSError, as on a full disk."""
    limit_files(room)
    with pytest.raises(InputError, match="cannot be written"):
        train(settings)
    sys.exit(2)


@pytest.mark.parametrize("file", [checkpoint.TRAINED, checkpoint.STATE])
def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(tmp_path, file):
    settings = runs.config(tmp_path / "out", max_train_steps=1)
    runs.run(settings)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "checkpoint-1").iterdir()}
    process = runs.start(train_with_little_room, replace(settings, max_train_steps=2), len(before[file]) // 2)
    process.join()
    assert process.exitcode == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "checkpoint-1").iterdir()} == before
    assert checkpoint.all_in(tmp_path / "out") == [tmp_path / "out" / "checkpoint-1"]
    assert not list((tmp_path / "out").glob(".*"))
    runs.run(replace(settings, max_train_steps=2))
    assert checkpoint.latest_in(tmp_path / "out").name == "checkpoint-2"


def test_other_frozen_weights_under_the_same_name_are_refused(tmp_path):
    """Weights are found by their path, but known by what they are: when resuming, and when exporting."""
    start = tmp_path / "start"
    tiny_pipeline(seed=1).save_pretrained(start)
    settings = runs.config(tmp_path / "out", tune_from_ckpt_path=str(start), max_train_steps=4, lr_scheduler="constant")
    out = runs.run(settings)
    shutil.rmtree(start)
    tiny_pipeline(seed=2).save_pretrained(start)
    with pytest.raises(InputError, match=r"checkpoint-4: the weights that it started from, .* are others now"):
        runs.run(replace(settings, max_train_steps=8))
    with pytest.raises(InputError, match=r"checkpoint-4: the weights that it started from, .* are others now"):
        export(out, tmp_path / "exported")


def test_a_step_that_is_trained_again_is_exported_again(tmp_path):
    settings = runs.config(tmp_path / "out", max_train_steps=4)
    out = runs.run(settings)
    before = (out / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    shutil.rmtree(out / "checkpoint-4")
    runs.run(replace(settings, learning_rate=1e-2))
    assert (out / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() != before


def test_a_validation_that_a_stop_left_out_is_made_when_the_run_goes_on(tmp_path):
    settings = runs.config(tmp_path / "out", validation_steps=2, checkpointing_steps=2, max_train_steps=4)
    settings = replace(settings, validation_videos=0)
    expected = runs.metrics(runs.run(settings), "validation/loss")
    stopped = replace(settings, output_dir=str(tmp_path / "stopped"))
    out = runs.run(replace(stopped, max_train_steps=2, validation_steps=0))
    runs.run(stopped)
    assert runs.metrics(out, "validation/loss") == expected
    runs.run(stopped)
    assert [line.count('validation/loss"') for line in (out / "metrics.jsonl").read_text().splitlines()].count(1) == 2


def test_resuming_with_more_data_says_so(tmp_path, caplog):
    settings = runs.config(tmp_path / "out", max_train_steps=2, checkpointing_steps=2, validation_steps=0)
    out = runs.run(settings)
    path = out / "checkpoint-2" / checkpoint.INFO
    info = json.loads(path.read_text())
    assert list(info["clips"].values()) == [20]
    path.write_text(json.dumps(info | {"clips": dict.fromkeys(info["clips"], 10)}))
    runs.run(replace(settings, max_train_steps=3))
    assert "training goes on in another order" in caplog.text


def test_a_second_run_in_the_folder_stops_at_once(tmp_path):
    settings = runs.config(tmp_path / "out", max_train_steps=1000, num_workers=1)
    process = runs.start(train, settings)
    while not runs_to(tmp_path / "out", 1):
        assert process.is_alive()
        time.sleep(0.005)
    elsewhere = replace(settings, pretrained_model_path="/nowhere")  # which nothing looks for
    with pytest.raises(InputError, match=rf"another run \(process {process.pid} on .*\) is writing here"):
        runs.run(elsewhere)
    process.kill()
    process.join()
    with pytest.raises(InputError, match="/nowhere: no such folder"):  # the lock went with the process
        runs.run(elsewhere)
