"""Which clips of a dataset are evaluated, and what the manifest says about them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from smcd.config import EvaluationConfig, load
from smcd.data.youtube_vis import held_out_names
from smcd.evaluation.generate import dataset_videos
from smcd.evaluation.generate.dataset_clips import EvaluationClips, present_boxes
from smcd.evaluation.metrics.manifest import differences, read_manifest
from smcd.runtime.errors import InputError
from smcd.sprites.world import WORLDS, make_clip


def clips_of(config) -> EvaluationClips:
    return dataset_videos.clips_of(dataset_videos.complete(config))


def test_got10k_is_the_whole_val_split_with_one_object(config, data):
    chosen = clips_of(config(start=2, stride=3))
    manifest = chosen.manifest(2)
    assert (manifest.dataset, manifest.height, manifest.width, chosen.objects) == ("got10k", 32, 32, 1)
    assert [clip.sequence for clip in manifest.clips] == [f"GOT-10k_Val_{n:06d}" for n in range(1, 6)]
    assert manifest.conventions["frames"] == "start 2, stride 3"
    for clip in manifest.clips:
        folder = data / "got10k" / "val" / clip.sequence
        assert clip.frames == [2, 5, 8]
        meta = (folder / "meta_info.ini").read_text()
        assert f"object_class: {clip.phrases[0]}\n" in meta
        assert clip.prompt.startswith(f"A {clip.phrases[0]} that is ")
        cover = [int(line) for line in (folder / "cover.label").read_text().split()]
        assert clip.cover == [[cover[2]], [cover[5]], [cover[8]]]
        absent = [int(line) for line in (folder / "absence.label").read_text().split()]
        for (box,), frame in zip(clip.boxes, clip.frames, strict=True):
            x, y, w, h = map(float, (folder / "groundtruth.txt").read_text().split()[frame].split(","))
            assert (box is None) == bool(absent[frame])
            if box:
                assert box == pytest.approx([x / 48, y / 48, (x + w) / 48, (y + h) / 48], abs=1e-5)
        with PIL.Image.open(folder / "00000003.jpg") as image:
            first = np.asarray(image.convert("RGB").resize((32, 32), PIL.Image.Resampling.BILINEAR))
        assert np.array_equal(chosen.frames(clip)[0], first)


def test_prompts_are_the_published_ones_unless_captions_are_asked_for(config, data, tmp_path):
    copy = tmp_path / "data" / "got10k"
    copy.mkdir(parents=True)
    (copy / "val").symlink_to(data / "got10k" / "val")
    (copy / "got10k_val_caption.json").write_text('{"GOT-10k_Val_000002": "Something floats by."}')
    published, plain, captioned = (
        clips_of(config(**changes)).manifest(1)
        for changes in ({}, {"path": str(copy.parent)}, {"path": str(copy.parent), "captions": True})
    )
    assert plain.sha256 == published.sha256
    prompts = [clip.prompt for clip in captioned.clips]
    assert prompts[1] == "Something floats by."
    assert prompts[::2] == [clip.prompt for clip in published.clips][::2]
    assert captioned.conventions["set"] == "GOT-10k, all of val; prompts from its file of captions"


@pytest.mark.parametrize("name", ["seed_33", "report", "GOT-10k*"])
def test_a_name_that_a_clip_cannot_have_is_refused(config, data, tmp_path, name):
    folder = tmp_path / "data" / "got10k" / "val"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(data / "got10k" / "val" / "GOT-10k_Val_000001")
    with pytest.raises(InputError, match=f"'{re.escape(name)}' cannot name a clip"):
        clips_of(config(path=str(tmp_path / "data"))).manifest(1)


def test_youtube_vis_is_the_first_videos_of_train(config, data, monkeypatch):
    monkeypatch.setattr("smcd.evaluation.generate.dataset_clips._PUBLISHED_VIDEOS", 7)
    chosen = clips_of(config(dataset="youvis"))
    manifest = chosen.manifest(2)
    folders = sorted(path.name for path in (data / "youvis" / "train" / "JPEGImages").iterdir())
    assert [clip.sequence for clip in manifest.clips] == folders[:7]  # those that are held out from training, too
    assert chosen.objects == 8
    captions = json.loads((data / "youvis" / "caption.json").read_text())
    assert all(clip.prompt == captions[clip.sequence] and clip.cover is None for clip in manifest.clips)
    assert {len(clip.phrases) for clip in manifest.clips} == {1, 2, 3}


def test_youtube_vis_leaves_out_videos_under_8_frames(config, data, tmp_path, caplog):
    annotations = json.loads((data / "youvis" / "train" / "instances.json").read_text())
    short = min(annotations["videos"], key=lambda video: video["file_names"][0])
    short["file_names"] = short["file_names"][:7]
    for track in annotations["annotations"]:
        if track["video_id"] == short["id"]:
            for key in ("bboxes", "segmentations", "areas"):
                track[key] = track[key][:7]
    target = tmp_path / "data" / "youvis" / "train"
    target.mkdir(parents=True)
    (target / "JPEGImages").symlink_to(data / "youvis" / "train" / "JPEGImages")
    (target / "instances.json").write_text(json.dumps(annotations))
    caplog.set_level("INFO")
    name = short["file_names"][0].split("/")[0]
    manifest = clips_of(config(dataset="youvis", path=str(tmp_path / "data"), video_length=2)).manifest(1)
    assert len(manifest.clips) == 11
    assert name not in {clip.sequence for clip in manifest.clips}
    assert f"1 x 7 frames, 8 are needed ({name})" in caplog.text


def test_held_out_videos(config, data):
    names = [path.name for path in (data / "youvis" / "train" / "JPEGImages").iterdir()]
    manifest = clips_of(config(dataset="youvis-heldout")).manifest(1)
    assert [clip.sequence for clip in manifest.clips] == sorted(held_out_names(names))
    assert "lowest SHA-1" in manifest.conventions["set"]


def test_sprites_are_another_world_than_that_of_training(config):
    chosen = clips_of(config(dataset="sprites", num_max_obj=3, sprites_clips=6, num_workers=4))
    manifest = chosen.manifest(4)
    assert len(manifest.clips) == 6
    assert chosen.objects == 3
    for index, clip in enumerate(manifest.clips):
        made = make_clip(1, index, 3, 32, WORLDS["built-in"])
        assert np.array_equal(chosen.frames(clip), made.frames)
        assert clip.prompt == made.caption
        assert clip.phrases == [sprite.phrase for sprite in made.sprites][:3]
        assert clip.classes == [sprite.shape for sprite in made.sprites][:3]
        visible = np.rint(8 * made.cover * made.box_mask)[:, :3]
        assert np.array_equal(clip.cover, visible)
    assert manifest.clips[0].prompt != make_clip(0, 0, 3, 32).caption


def test_max_clips_are_the_first_and_another_manifest(config):
    some, all_clips = clips_of(config(max_clips=2)).manifest(1), clips_of(config()).manifest(1)
    assert some.clips == all_clips.clips[:2]
    assert some.sha256 != all_clips.sha256
    assert clips_of(config(max_clips=5)).manifest(3).sha256 == all_clips.sha256
    told = "; ".join(differences(all_clips, some))
    assert "only the first 2" in told
    assert "3 clips are no longer there (GOT-10k_Val_000003" in told


def test_boxes_are_cut_and_empty_ones_are_absent():
    boxes = np.array([[[-0.5, 0.25, 1.5, 0.5], [0.5, 0.5, 0.5, 0.9], [1.1, 0.1, 1.3, 0.4], [0.1, 0.1, 0.2, 0.2]]])
    assert present_boxes(boxes, np.array([[1, 1, 1, 0]])) == [[[0.0, 0.25, 1.0, 0.5], None, None, None]]


def test_frames_that_change_under_a_run_are_noticed(config):
    chosen = clips_of(config())
    clip = chosen.manifest(1).clips[0]
    clip.frames[0] = 5
    with pytest.raises(InputError, match="the frames of GOT-10k_Val_000001 changed"):
        chosen.frames(clip)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": None}, "no data: name the folder that holds got10k, eval_data.path=FOLDER"),
        ({"path": "/nowhere"}, "/nowhere: no such folder"),
        ({"start": 7}, "no video is left: GOT-10k_Val_000001: 9 frames, 10 are needed"),
        ({"dataset": "sprites", "sprites_world": "speed=fast"}, "speed=fast: "),
    ],
)
def test_data_that_are_not_there(config, changes, message):
    with pytest.raises(InputError) as error:
        clips_of(config(**changes))
    assert message in str(error.value)


def test_the_committed_sprites_manifest_is_what_the_shipped_config_makes():
    """The world must not change in silence. Pixels may differ in their last bit on other machines: not their hash."""
    made = clips_of(load(EvaluationConfig, ["--config", "configs/object_tracking_eval.yaml"])).manifest(2)
    committed = read_manifest(Path("configs/sprites_manifest.json"))
    assert [replace(clip, frames_sha256="") for clip in made.clips] == [
        replace(clip, frames_sha256="") for clip in committed.clips
    ]
    assert replace(made, clips=committed.clips) == committed
