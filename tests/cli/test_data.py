"""`smcd prepare` and `smcd show`, as users run them."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import PIL.Image
import pytest
import torch

from smcd.config import DataConfig, PrepareConfig
from smcd.data.build import build_data
from smcd.data.contact_sheet import contact_sheet
from smcd.data.latent_cache import EncoderHashes
from smcd.data.phrases import PhraseEmbeddings
from smcd.data.youtube_vis import held_out_names
from smcd.runtime.errors import InputError
from smcd.runtime.media import write_frames, write_video
from smcd.sprites.layouts import make_world, write_gligen, write_got10k, write_youtube_vis
from smcd.sprites.tiny import tiny_pipeline
from smcd.text import encode_phrases
from smcd.training.prepare import prepare as prepare_data

CLIPS = 10


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def model(pipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    world = make_world([])
    write_got10k(tmp_path, range(3), 0, 9, 32, world)
    write_got10k(tmp_path, range(2), 0, 9, 32, world, "val")
    write_youtube_vis(tmp_path, range(CLIPS), 0, 9, 32, world)
    write_gligen(tmp_path, range(3), 0, 32, world)
    return tmp_path


def run(*arguments):
    command = [sys.executable, "-m", "smcd.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def prepare(dataset, data, model, **options):
    """The summary, as one text."""
    return "\n".join(prepare_data(PrepareConfig(dataset=dataset, data=str(data), model=str(model), **options)))


def check_embeddings(path, pipe, phrases):
    with torch.no_grad():
        expected = encode_phrases(pipe.tokenizer, pipe.text_encoder, phrases)
    assert (PhraseEmbeddings([path])(phrases) - expected).abs().max() < 2e-3


def test_got10k(data, model, pipe):
    done = run("prepare", "got10k", "--data", data, "--model", model)
    assert done.returncode == 0, done.stderr
    assert "got10k/train: 3 clips kept, 0 dropped" in done.stdout
    assert "got10k/val: 2 clips kept, 0 dropped" in done.stdout
    path = data / "got10k" / "obj_embedding.json"
    lines = [meta.read_text().splitlines() for meta in (data / "got10k").glob("*/*/meta_info.ini")]
    phrases = [line.partition(": ")[2] for meta in lines for line in meta if line.startswith("object_class")]
    assert sorted(json.loads(path.read_text())) == sorted(set(phrases))
    check_embeddings(path, pipe, phrases)


def test_embeddings_of_another_encoder_are_not_overwritten(data, model, caplog):
    path = data / "got10k" / "obj_embedding.json"
    path.write_text(json.dumps({"a zebra": [[0.0] * 1024]}))
    with pytest.raises(InputError, match=r"of another text encoder \(1024 wide, this one's are 64\)"):
        prepare("got10k", data, model)
    assert list(json.loads(path.read_text())) == ["a zebra"]
    prepare("got10k", data, model, overwrite=True)
    before = path.read_text()
    assert "a zebra" not in before
    with caplog.at_level(logging.INFO):
        prepare("got10k", data, model)
    assert "phrases already" in caplog.text
    assert path.read_text() == before


def test_youtube_vis(data, model, pipe):
    root = data / "youvis"
    captions = json.loads((root / "caption.json").read_text())
    kept = dict(list(captions.items())[:4])
    (root / "caption.json").write_text(json.dumps(kept))
    prepare("youvis", data, model)
    new = json.loads((root / "caption.json").read_text())
    assert new.keys() == captions.keys()
    assert new.items() >= kept.items()
    assert json.loads((root / "heldout.json").read_text()) == held_out_names(captions)
    instances = json.loads((root / "train" / "instances.json").read_text())
    plain = json.loads((root / "train" / "annotations_info.json").read_text())
    embedded = json.loads((root / "train" / "annotations_info_with_cat_emb.json").read_text())
    assert plain.keys() == captions.keys()
    assert embedded.pop("category_embedding").keys() == {category["name"] for category in instances["categories"]}
    assert embedded == plain
    assert sum(map(len, plain.values())) == len(instances["annotations"])
    path = root / "train" / "annotations_info_with_cat_emb.json"
    check_embeddings(path, pipe, [category["name"] for category in instances["categories"]])


def test_gligen(data, model, pipe):
    index = data / "GLIGEN" / "GROUNDING" / "sbu" / "train-00.lineidx"
    index.unlink()
    prepare("gligen", data, model, dry_run=True)
    assert not index.exists()
    prepare("gligen", data, model)
    assert index.is_file()
    files = [str(data / "GLIGEN" / "GROUNDING" / name / "phrases.safetensors") for name in ("flickr", "sbu", "gqa")]
    config = DataConfig(name="gligen", data_path=str(data), phrase_embeddings=files)
    mixture, order = build_data(config, 0)
    for position in range(len(mixture)):
        clip = mixture.clip(order[position])
        named = [phrase for phrase in clip.phrases if phrase]
        with torch.no_grad():
            expected = encode_phrases(pipe.tokenizer, pipe.text_encoder, named)
        assert (clip.phrase_embeddings[: len(named)] - expected).abs().max() < 2e-3


def test_own_videos(tmp_path, model):
    frames = np.full((9, 32, 32, 3), 90, np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None] * 9
    objects = [{"phrase": "dog", "boxes": {"0": [0, 0, 9, 9]}}]
    write_video(tmp_path / "a.mp4", frames)
    write_video(tmp_path / "b.gif", frames)
    content = {"a.mp4": {"objects": objects}, "b.gif": {"caption": "A dog.", "objects": objects}}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    summary = prepare("videos", tmp_path, model, latents=str(tmp_path / "cache"), width=16, height=16)
    assert f"videos/{tmp_path.name}-" in summary
    assert ": 2 clips kept, 0 dropped" in summary
    assert "latents: 18 frames, " in summary
    assert json.loads((tmp_path / "annotations.json").read_text()) == content  # the user's file is left alone
    assert list(json.loads((tmp_path / "obj_embedding.json").read_text())) == ["dog"]


def test_a_dry_run_finds_damaged_videos(tmp_path):
    objects = [{"phrase": "dog", "boxes": {"0": [0, 0, 9, 9]}}]
    names = ("cut.mp4", "hole", "whole.mp4")
    (tmp_path / "annotations.json").write_text(json.dumps({name: {"objects": objects} for name in names}))
    frames = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
    write_video(tmp_path / "whole.mp4", frames)
    content = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    write_frames(tmp_path / "hole", "frame", frames)
    (tmp_path / "hole" / "frame_5.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"cut\.mp4: cannot be read as a video \(it is cut off\)"):
        prepare("videos", tmp_path, "no/such/model", dry_run=True)
    summary = prepare("videos", tmp_path, "no/such/model", dry_run=True, on_error="skip")
    assert ": 1 clips kept, 2 dropped" in summary
    assert "cut.mp4: cannot be read as a video" in summary
    assert "frame_5.png: cannot be read as an image" in summary


def test_nothing_left_is_an_error(data, model):
    for meta in (data / "got10k").glob("*/*/meta_info.ini"):
        meta.unlink()
    with pytest.raises(InputError, match="there is nothing to write"):
        prepare("got10k", data, model, on_error="skip")
    for file in (data / "GLIGEN").rglob("*.tsv"):
        file.write_text("0\t{}\n")
        file.with_suffix(".lineidx").write_text("0\n")
    with pytest.raises(InputError, match=r"phrases.safetensors: there is nothing to write"):
        prepare("gligen", data, model, on_error="skip")
    shutil.rmtree(data / "got10k" / "train")
    shutil.rmtree(data / "got10k" / "val")
    with pytest.raises(InputError, match="has no folder got10k/train or got10k/val"):
        prepare("got10k", data, model)


def test_gligen_phrases_of_another_encoder(data, model, pipe, tmp_path_factory, caplog):
    other = tmp_path_factory.mktemp("other")
    tiny_pipeline(seed=1).save_pretrained(other)
    prepare("gligen", data, other)
    path = data / "GLIGEN" / "GROUNDING" / "sbu" / "phrases.safetensors"
    with pytest.raises(InputError, match="embeddings of another text encoder"):
        prepare("gligen", data, model)
    config = DataConfig(name="gligen", data_path=str(data), phrase_embeddings=[str(path)])
    hashes = EncoderHashes.of(pipe.vae, pipe.text_encoder)
    with pytest.raises(InputError, match="was made with another text encoder"):
        build_data(config, 0, hashes)
    prepare("gligen", data, model, overwrite=True)
    build_data(config, 0, hashes)
    with caplog.at_level(logging.INFO):
        prepare("gligen", data, model)
    assert "phrases already" in caplog.text


def test_youtube_vis_with_a_broken_annotation(data, model):
    path = data / "youvis" / "train" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 999
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="category_id 999 is unknown"):
        prepare("youvis", data, model)
    assert not (data / "youvis" / "heldout.json").exists()
    assert f"youvis/train: {CLIPS - 1} clips kept, 1 dropped" in prepare("youvis", data, model, on_error="skip")
    assert (data / "youvis" / "heldout.json").is_file()


def test_what_was_dropped_is_said(data, caplog):
    path = data / "got10k" / "train" / "GOT-10k_Train_000002" / "groundtruth.txt"
    path.write_text("1,2,3\n")
    with caplog.at_level(logging.INFO):
        build_data(DataConfig(path=str(data), datasets=["got10k"], on_error="skip"), 0)
    assert "got10k/train: 2 clips kept, 1 dropped" in caplog.text
    assert "groundtruth.txt:1" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames_at_once": 0}, "frames_at_once is 0"),
        ({"width": 33}, "width is 33; it must be a multiple of 8"),
        ({"dataset": "sprites"}, "sprites need no files but cached latents"),
        ({"dataset": "davis"}, "dataset is 'davis'; choose from"),
        ({"dataset": "gligen", "latents": "x"}, "latents are cached for videos only"),
    ],
)
def test_options_that_make_no_sense(data, options, message):
    with pytest.raises(InputError, match=message):
        prepare(**{"dataset": "youvis", "data": data, "model": "none"} | options)


@pytest.mark.parametrize("dataset", ["got10k", "youvis", "gligen", "videos"])
def test_data_are_read_before_the_model(tmp_path, dataset):
    with pytest.raises(InputError, match=str(tmp_path)):
        prepare(dataset, tmp_path, "no/such/model")


def test_the_documented_python(data, monkeypatch):
    """docs/data.md, "Reading it from Python"."""
    text = Path("docs/data.md").read_text().partition("## Reading it from Python")[2]
    code = "\n".join(line.removeprefix("    ") for line in text.splitlines() if line.startswith("    "))
    monkeypatch.chdir(data)
    names: dict = {}
    exec(code.replace('"DATA"', '"."').replace("num_frames=16", "num_frames=4"), names)
    assert names["clip"].frames.shape == (4, 320, 512, 3)


def test_a_dry_run_writes_nothing(data, model):
    before = sorted(data.rglob("*"))
    for dataset in ("got10k", "youvis"):
        summary = prepare(dataset, data, "no/such/model", dry_run=True, latents=str(data / "latents"))
        assert "frames would be encoded" in summary
    assert "gligen/sbu: 3 clips kept" in prepare("gligen", data, "no/such/model", dry_run=True)
    assert sorted(data.rglob("*")) == before


def test_errors_are_one_line(data, model, tmp_path):
    (data / "got10k" / "train" / "GOT-10k_Train_000002" / "groundtruth.txt").write_text("1,2,3\n")
    done = run("prepare", "got10k", "--data", data, "--model", model)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].endswith("groundtruth.txt:1: '1,2,3' is not 4 finite numbers")
    assert "Traceback" not in done.stderr
    summary = prepare("got10k", data, model, on_error="skip")
    assert "got10k/train: 2 clips kept, 1 dropped" in summary
    assert "groundtruth.txt:1" in summary
    for folder, weights in ((tmp_path / "none", model), (data, tmp_path / "none")):
        with pytest.raises(InputError, match="none: "):
            prepare("youvis", folder, weights)


@pytest.mark.parametrize("layout", ["got10k", "youvis", "gligen", "sprites"])
def test_show_data(data, layout):
    out = data / "page.png"
    section = {"name": "gligen", "data_path": str(data)} if layout == "gligen" else {"path": str(data)}
    if layout != "gligen":
        section |= {"datasets": [layout], "width": 32, "height": 32, "held_out": "include", "sprites_clips": 5}
    (data / "c.yaml").write_text(json.dumps({"train_data": section, "seed": 1, "learning_rate": 1e-5}))
    done = run("show", "--config", data / "c.yaml", "--clips", 4, "--out", out)
    assert done.returncode == 0, done.stderr
    page = imageio.imread(out)
    assert page.shape[1] == (4 * 168 if layout == "gligen" else 8 * 168)
    assert 0 < (page == 255).all(-1).mean() < 0.6  # white around pictures


def test_show_data_takes_a_trainings_file(tmp_path):
    repository = Path(__file__).parents[2]
    for name in ("object_tracking_ms_stage2", "sprites_stage2"):  # the second names cached latents
        out = tmp_path / f"{name}.png"
        done = run("show", "--config", repository / "configs" / f"{name}.yaml", "--clips", 1, "--out", out)
        assert done.returncode == 0, done.stderr
        assert imageio.imread(out).shape[1] == 8 * 168


def test_a_contact_sheet_shows_frames_boxes_and_captions():
    mixture, order = build_data(DataConfig(datasets=["sprites"], sprites_clips=2, n_sample_frames=3), 0)
    clips = [mixture.clip(order[position]) for position in range(2)]
    sheet = contact_sheet(clips)
    frame = np.asarray(PIL.Image.fromarray(clips[0].frames[0].numpy()).resize((160, 160)))
    starts = [y for y in range(60) if np.median(np.abs(sheet[y : y + 160, 4:164].astype(int) - frame)) < 1]
    assert starts
    bare = [clip.__class__(**{**vars(clip), "box_mask": torch.zeros_like(clip.box_mask)}) for clip in clips]
    assert (contact_sheet(bare) != sheet).any(-1).mean() > 0.01  # the boxes
    for clip in bare:
        clip.prompt = ""
    assert len(contact_sheet(bare)) < len(sheet)  # the captions
    clips[0].frames = None
    with pytest.raises(ValueError, match="has no frames"):
        contact_sheet(clips)


def test_show_data_errors(data):
    for arguments, message in (
        (["--datasets", "got10k"], "no data: name the folder that holds them"),
        (["--path", data, "--datasets", "davis"], "datasets: davis is unknown; choose from got10k, youvis, sprites"),
        (["--path", data, "--out", data / "page.txt"], "name a .png or .jpg"),
        (["--path", data, "--on_error", "ignore"], "train_data.on_error is 'ignore'; choose from error, skip"),
        (["--path", data, "train_data.on_error=ignore"], "train_data.on_error is 'ignore'; choose from error, skip"),
        (["--datasets", "sprites", "--weights", "1,2"], "give 1 numbers above 0, one per dataset"),
    ):
        done = run("show", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
