"""Cached latents: the same samples as from pixels, and never those of a half-written or another cache."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smcd.config import DataConfig, PrepareConfig
from smcd.data import latent_cache
from smcd.data.build import build_data
from smcd.data.clips import collate
from smcd.data.latent_cache import CacheWriter, EncoderHashes, LatentCache, encoder_hash
from smcd.data.sprites import Sprites
from smcd.latents import encode_frames
from smcd.runtime.errors import InputError
from smcd.runtime.media import write_video
from smcd.sprites.tiny import tiny_pipeline
from smcd.text import encode_phrases, encode_text
from smcd.training.prepare import prepare
from tests.data.conftest import CLIPS


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def model(pipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    pipe.save_pretrained(folder)
    return folder


def prepare_config(data, model, **options):
    settings = {"dataset": "youvis", "latents": str(data / "latents"), "width": 32, "height": 32}
    return PrepareConfig(data=str(data), model=str(model), **settings | options)


def data_config(data, **options):
    settings = {"datasets": ["youvis"], "width": 32, "height": 32, "held_out": "include", "n_sample_frames": 4}
    return DataConfig(path=str(data), **settings | options)


def cached(data, pipe, **options):
    return build_data(
        data_config(data, latents=str(data / "latents"), **options), 33, EncoderHashes.of(pipe.vae, pipe.text_encoder)
    )


def cache_of(data):
    [folder] = (data / "latents").iterdir()
    return folder


@pytest.fixture(scope="module")
def prepared(shared_data, model, tmp_path_factory):
    """A copy of the data with a cache; do not change it."""
    data = Path(shutil.copytree(shared_data, tmp_path_factory.mktemp("prepared") / "data"))
    prepare(prepare_config(data, model))
    return data


@pytest.mark.parametrize("stride", [1, 2])
def test_raw_and_cached_samples_differ_by_rounding_only(prepared, pipe, stride):
    raw, order = build_data(data_config(prepared, stride=stride), 33)
    from_cache, _ = cached(prepared, pipe, stride=stride)
    picks = [order[position] for position in range(2 * CLIPS)]
    plain, quick = collate([raw.clip(pick) for pick in picks]), collate([from_cache.clip(pick) for pick in picks])
    assert plain.names == quick.names
    assert plain.prompts == quick.prompts
    assert plain.phrases == quick.phrases
    assert torch.equal(plain.boxes, quick.boxes)
    assert torch.equal(plain.box_mask, quick.box_mask)
    assert quick.frames is None
    mean, std = encode_frames(pipe.vae, plain.frames)
    assert (mean - quick.latent_mean).abs().max() < 1e-6
    assert (std - quick.latent_std).abs().max() < 1e-6
    with torch.no_grad():
        text, _ = encode_text(pipe.tokenizer, pipe.text_encoder, plain.prompts)
        assert (text - quick.text).abs().max() < 1e-5
        for row, phrases in enumerate(plain.phrases):
            named = [phrase for phrase in phrases if phrase]
            expected = encode_phrases(pipe.tokenizer, pipe.text_encoder, named)
            assert (quick.phrase_embeddings[row, : len(named)] - expected).abs().max() < 1e-5
            assert not quick.phrase_embeddings[row, len(named) :].any()


def test_a_posterior_sample_is_mean_and_noise(pipe):
    frames = torch.randint(256, (1, 3, 32, 32, 3), dtype=torch.uint8)
    mean, std = encode_frames(pipe.vae, frames, at_once=2)
    pixels = frames[0].permute(0, 3, 1, 2).float() / 127.5 - 1
    posterior = pipe.vae.encode(pixels).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(1))
    expected = posterior.sample(torch.Generator().manual_seed(1)) * pipe.vae.config.scaling_factor
    assert ((mean + std * noise.permute(1, 0, 2, 3))[0].permute(1, 0, 2, 3) - expected).abs().max() < 1e-6


def test_an_unfinished_cache_is_never_read(data, model, pipe, monkeypatch):
    monkeypatch.setattr(latent_cache, "SHARD", 2)
    prepare(prepare_config(data, model))
    folder = cache_of(data)
    assert len(list(folder.glob("shard-*.safetensors"))) == CLIPS // 2
    (folder / "index.json").unlink()
    with pytest.raises(InputError, match=r"is not finished; run smcd prepare with --latents"):
        cached(data, pipe)
    (folder / "shard-00001.safetensors").write_bytes((folder / "shard-00001.safetensors").read_bytes()[:500])
    untouched = (folder / "shard-00000.safetensors").stat().st_mtime_ns
    prepare(prepare_config(data, model))  # again: only the broken shard is written
    assert (folder / "shard-00000.safetensors").stat().st_mtime_ns == untouched
    assert len(cached(data, pipe)[0]) == CLIPS


def test_a_shard_that_breaks_later_is_an_error(data, model, pipe):
    prepare(prepare_config(data, model))
    path = cache_of(data) / "shard-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    mixture, order = cached(data, pipe)
    with pytest.raises(InputError, match=r"shard-00000.safetensors: cannot be read"):
        mixture.clip(order[0])


@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_wrong_bit_of_a_shard_is_never_read(prepared, pipe, place, bit):
    shard = cache_of(prepared) / "shard-00000.safetensors"
    good = shard.read_bytes()
    bad = bytearray(good)
    bad[int(place * len(bad))] ^= 1 << bit
    source = cached(prepared, pipe)[0].sources[0].source
    try:
        shard.write_bytes(bad)
        found, told = read_all(prepared, source), ""
    except InputError as error:
        found, told = [], str(error)
    finally:
        shard.write_bytes(good)
    assert found or "run smcd prepare again" in told
    for video, expected in zip(found, read_all(prepared, source), strict=bool(found)):  # a bit that nobody reads
        assert all(torch.equal(video[key], expected[key]) for key in video)


def read_all(data, source):
    cache = LatentCache(cache_of(data))
    return [cache(video, range(len(video))) for video in map(source.video, range(CLIPS))]


def test_a_rerun_mends_a_damaged_shard(data, model, pipe):
    prepare(prepare_config(data, model))
    shard = cache_of(data) / "shard-00000.safetensors"
    good = shard.read_bytes()
    shard.write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
    prepare(prepare_config(data, model))
    assert shard.read_bytes() == good
    untouched = shard.stat().st_mtime_ns
    prepare(prepare_config(data, model))
    assert shard.stat().st_mtime_ns == untouched


def test_a_cache_of_another_model_or_size_is_not_taken(prepared, pipe):
    other = tiny_pipeline(seed=1)
    for options in ({"vae": other.vae}, {"text_encoder": other.text_encoder}):
        parts = {"vae": pipe.vae, "text_encoder": pipe.text_encoder} | options
        with pytest.raises(InputError, match=r"does not exist; run .*caches there: youvis-train-32x32-"):
            build_data(data_config(prepared, latents=str(prepared / "latents")), 33, EncoderHashes.of(**parts))
    for options in ({"width": 16}, {"resize": "published"}):
        with pytest.raises(InputError, match="does not exist"):
            cached(prepared, pipe, **options)


def test_half_precision_of_the_same_weights_is_the_same_model(pipe):
    assert encoder_hash(tiny_pipeline(dtype=torch.float16).vae) == encoder_hash(pipe.vae)
    assert encoder_hash(tiny_pipeline(seed=1).vae) != encoder_hash(pipe.vae)


def test_a_caption_that_changed_is_noticed(data, model, pipe):
    prepare(prepare_config(data, model))
    path = data / "youvis" / "caption.json"
    captions = json.loads(path.read_text())
    path.write_text(json.dumps({name: f"{caption} Slowly." for name, caption in captions.items()}))
    mixture, order = cached(data, pipe)
    with pytest.raises(InputError, match=r"was cached with prompt .*Slowly.*run smcd prepare again"):
        mixture.clip(order[0])
    prepare(prepare_config(data, model))  # writes anew what changed
    mixture, order = cached(data, pipe)
    assert mixture.clip(order[0]).prompt.endswith("Slowly.")


def test_broken_videos_are_left_out_and_told_of(data, model, pipe):
    frame = next((data / "youvis" / "train" / "JPEGImages").glob("*/00010.jpg"))
    frame.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"00010.jpg: cannot be read as an image"):
        prepare(prepare_config(data, model))
    summary = prepare(prepare_config(data, model, on_error="skip"))
    assert f"latents of youvis/train: {CLIPS - 1} clips kept, 1 dropped" in summary
    assert any("00010.jpg" in line and frame.parent.name in line for line in summary)
    with pytest.raises(InputError, match=r"lacks 1 videos that were broken .*00010.jpg.*on_error=skip"):
        cached(data, pipe)
    mixture, _ = cached(data, pipe, on_error="skip")
    assert len(mixture) == CLIPS - 1
    assert frame.parent.name in mixture.sources[0].dropped
    frame.write_bytes(frame.with_name("00005.jpg").read_bytes())
    assert f"latents of youvis/train: {CLIPS} clips kept, 0 dropped" in prepare(prepare_config(data, model))
    assert len(cached(data, pipe)[0]) == CLIPS


def test_a_cache_that_is_being_rewritten_is_not_read(data, model, pipe, monkeypatch):
    prepare(prepare_config(data, model))
    video = next((data / "youvis" / "train" / "JPEGImages").iterdir())
    instances = json.loads((data / "youvis" / "train" / "instances.json").read_text())
    instances["videos"] = [v for v in instances["videos"] if not v["file_names"][0].startswith(video.name)]
    (data / "youvis" / "train" / "instances.json").write_text(json.dumps(instances))

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("smcd.training.prepare.Encoders.latents", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(prepare_config(data, model))
    with pytest.raises(InputError, match="is not finished"):
        cached(data, pipe)
    prepare(prepare_config(data, model))
    assert len(cached(data, pipe)[0]) == CLIPS - 1


def test_sprites_without_texts(tmp_path, model, pipe):
    """For a text encoder that trains: the cache is found whatever the text encoder, and brings no texts."""
    prepare(
        PrepareConfig(
            "sprites", None, str(model), latents=str(tmp_path), texts=False, sprites_clips=3, width=32, height=32
        )
    )
    other = tiny_pipeline(seed=1).text_encoder
    config = DataConfig(datasets=["sprites"], sprites_clips=3, sprites_frames=8, n_sample_frames=1, width=32, height=32)
    raw, order = build_data(config, 0)
    config.latents = str(tmp_path)
    mixture, _ = build_data(config, 0, EncoderHashes.of(pipe.vae, other))
    batch = collate([mixture.clip(order[position]) for position in range(3)])
    assert batch.text is None
    assert batch.phrase_embeddings is None
    plain = collate([raw.clip(order[position]) for position in range(3)])
    assert plain.names == batch.names
    assert (encode_frames(pipe.vae, plain.frames)[0] - batch.latent_mean).abs().max() < 1e-6


def test_another_precision_is_refused(data, model):
    prepare(prepare_config(data, model))
    with pytest.raises(InputError, match=r"was begun otherwise \(dtype torch.float32 -> torch.bfloat16\)"):
        prepare(prepare_config(data, model, dtype="bfloat16"))


def test_bfloat16_caches_are_found(data, model, pipe):
    prepare(prepare_config(data, model, dtype="bfloat16"))
    mixture, order = cached(data, pipe)
    raw, _ = build_data(data_config(data), 33)
    mean, _ = encode_frames(pipe.vae, raw.clip(order[0]).frames[None])
    assert 0 < (mixture.clip(order[0]).latent_mean - mean[0]).abs().max() < 0.05


def own_videos(folder, shade):
    folder.mkdir(parents=True)
    frames = np.full((9, 32, 32, 3), shade, np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None] * 5
    write_video(folder / "a.mp4", frames)
    objects = [{"phrase": "dog", "boxes": {"0": [0, 0, 9, 9]}}]
    (folder / "annotations.json").write_text(json.dumps({"a.mp4": {"objects": objects}}))
    return folder


def test_own_videos_of_one_name_have_caches_of_their_own(tmp_path, model, pipe):
    """Folders of one name, and a video that is replaced by another one of the same length."""
    folders = [own_videos(tmp_path / name / "clips", shade) for name, shade in (("x", 20), ("y", 180))]
    options = {"dataset": "videos", "latents": str(tmp_path / "cache")}

    def latents(folder):
        config = DataConfig(name="videos", path=str(folder), width=32, height=32, start="0")
        raw, order = build_data(config, 0)
        config.latents = options["latents"]
        from_cache, _ = build_data(config, 0, EncoderHashes.of(pipe.vae, pipe.text_encoder))
        mean, _ = encode_frames(pipe.vae, raw.clip(order[0]).frames[None])
        assert (from_cache.clip(order[0]).latent_mean - mean[0]).abs().max() < 1e-5

    for folder in folders:
        prepare(prepare_config(folder, model, **options))
    for folder in folders:
        latents(folder)
    (folders[0] / "a.mp4").write_bytes((folders[1] / "a.mp4").read_bytes())
    with pytest.raises(InputError, match="was cached with fingerprint"):
        latents(folders[0])
    prepare(prepare_config(folders[0], model, **options))
    latents(folders[0])


def test_two_processes_write_the_same_cache(data, prepared, model):
    command = ["-m", "smcd.cli", "prepare", "youvis", "--data", str(data), "--model", str(model)]
    command += ["--latents", str(data / "latents"), "--width", "32", "--height", "32"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, *command], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("latents: ") == 1
    mine, theirs = LatentCache(cache_of(data)), LatentCache(cache_of(prepared))
    source = build_data(data_config(data), 33)[0].sources[0].source
    for index in range(CLIPS):
        video = source.video(index)
        first, second = (cache(video, range(len(video))) for cache in (mine, theirs))
        assert all(np.allclose(first[key], second[key], atol=1e-6) for key in first)


def test_an_incomplete_writer_does_not_finish(tmp_path):
    writer = CacheWriter(tmp_path, Sprites(2))
    assert writer.begin({}) == [0]
    with pytest.raises(InputError, match=r"shard-00000.safetensors: cannot be read"):
        writer.finish()
