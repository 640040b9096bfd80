"""GLIGEN's TSV files: rows, crops, phrases, and what is refused."""

import json

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smcd.config import DataConfig, GligenConfig
from smcd.data.build import build_data
from smcd.data.gligen_tsv import GligenTSV, phrase_of
from smcd.runtime.errors import InputError
from smcd.sprites.world import make_clip
from tests.data.conftest import CLIPS, SEED, SIZE, WORLD


def clip_of(dataset, index, seed=0):
    return dataset.clip(index, np.random.default_rng(seed))


def tsv(data):
    return data / "GLIGEN" / "GROUNDING" / "flickr" / "train-00.tsv"


def test_whole_images_show_the_world(shared_data):
    dataset = GligenTSV(shared_data, "flickr", SIZE, 8, crop_ratio=1)
    assert len(dataset) == CLIPS
    for index in range(CLIPS):
        truth, clip = make_clip(SEED, index, 1, SIZE, WORLD), clip_of(dataset, index)
        assert clip.boxes.shape == (1, 8, 4)
        assert clip.box_mask.shape == (1, 8)
        assert clip.frames.shape == (1, SIZE, SIZE, 3)
        assert np.abs(clip.frames[0].numpy().astype(float) - truth.frames[0]).mean() < 6
        boxes = {sprite.phrase: box for sprite, box in zip(truth.sprites, truth.boxes[0], strict=True)}
        for phrase, box, there in zip(clip.phrases, clip.boxes[0], clip.box_mask[0], strict=True):
            assert bool(phrase) == bool(there)
            if phrase:
                assert box.numpy() == pytest.approx(boxes[phrase], abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), index=st.integers(0, CLIPS - 1))
def test_boxes_follow_the_crop(shared_data, seed, index):
    dataset = GligenTSV(shared_data, "sbu", 2 * SIZE, 8, crop_ratio=0.6)
    clip, truth = clip_of(dataset, index, seed), make_clip(SEED + 1, index, 1, SIZE, WORLD)
    areas = (clip.boxes[0, :, 2:] - clip.boxes[0, :, :2]).prod(-1)
    assert (areas[:-1] >= areas[1:] - 1e-6).all()  # the largest first
    assert (areas[clip.box_mask[0] > 0] >= 0.01 - 1e-6).all()
    assert clip.boxes.min() >= 0
    assert clip.boxes.max() <= 1
    colors = {sprite.phrase: n for n, sprite in enumerate(truth.sprites)}
    for phrase, box in zip(clip.phrases, clip.boxes[0], strict=True):
        if phrase:  # a crop magnifies: the box is larger than it was, or cut off
            old = truth.boxes[0, colors[phrase]]
            assert (box[2:] - box[:2]).prod() <= (old[2:] - old[:2]).prod() / 0.6**2 + 1e-5


def test_the_crop_is_what_the_boxes_say(data):
    """A white box on black, found in the cropped pixels where its box says."""
    import base64
    import io

    image = PIL.Image.new("RGB", (100, 60))
    image.paste((255, 255, 255), (40, 20, 70, 40))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    content = {"image": base64.b64encode(buffer.getvalue()).decode(), "caption": "a box"}
    content["annos"] = [{"bbox": [40, 20, 30, 20], "tokens_positive": [[2, 5]]}]
    tsv(data).write_text(f"0\t{json.dumps(content)}\n")
    tsv(data).with_suffix(".lineidx").write_text("0\n")
    for resize in ("antialiased", "published"):
        dataset = GligenTSV(data, "flickr", 128, 4, 0.9, resize)
        for seed in range(5):
            clip = clip_of(dataset, 0, seed)
            if not clip.box_mask[0, 0]:
                continue
            rows, columns = np.nonzero(clip.frames[0, :, :, 0].numpy() > 127)
            seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 128
            assert seen == pytest.approx(clip.boxes[0, 0].numpy(), abs=0.012)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("flickr", "flickr30k/tsv"), ("sbu", "SBU/tsv"), ("gqa", "gqa/tsv"), ("flickr", "flickr_tsv"), ("sbu", "sbu_tsv")],
)
def test_the_folders_of_gligen_and_of_its_hub_pages(data, name, folder):
    files, target = data / "GLIGEN" / "GROUNDING" / name, data / "GLIGEN" / "GROUNDING" / folder
    files.rename(data / "away")
    target.parent.mkdir(exist_ok=True)
    (data / "away").rename(target)
    assert GligenTSV(data, name).folder.samefile(target)
    assert len(GligenTSV(data / "GLIGEN" / "GROUNDING", name)) == CLIPS


def test_more_objects_than_slots(shared_data):
    whole = GligenTSV(shared_data, "gqa", SIZE, 8, crop_ratio=1)
    one = GligenTSV(shared_data, "gqa", SIZE, 1, crop_ratio=1)
    index = max(range(CLIPS), key=lambda n: clip_of(whole, n).box_mask.sum())
    assert clip_of(one, index).phrases == clip_of(whole, index).phrases[:1]


def test_phrases_are_joined_spans():
    assert phrase_of("A red and shiny car", [[2, 5], [16, 19]], "here") == "red car"
    assert phrase_of("A red car", [[2, 50]], "here") == "red car"  # cut, as GLIGEN does
    assert phrase_of("A red car", [[2, 5], [50, 60], [6, 9]], "here") == "red car"
    for spans in (None, [], [[3]], [[50, 60]], [[-3, 2]], [[5, 2]], "ab", [["a", "b"]]):
        with pytest.raises(InputError, match="names nothing in the caption"):
            phrase_of("A red car", spans, "here")


def test_a_row_cut_in_half(data):
    lines = tsv(data).read_bytes().splitlines(keepends=True)
    tsv(data).write_bytes(b"".join(lines[:-1]) + lines[-1][:400])
    with pytest.raises(InputError, match=r"train-00.tsv:6: the row is broken or cut off"):
        clip_of(GligenTSV(data, "flickr"), CLIPS - 1)


def test_a_file_that_was_cut_off(data):
    size = tsv(data).stat().st_size
    tsv(data).write_bytes(tsv(data).read_bytes()[: size // 2])
    with pytest.raises(InputError, match=r"train-00.tsv:\d: the file ends at byte \d+, before this row"):
        GligenTSV(data, "flickr")
    dataset = GligenTSV(data, "flickr", on_error="skip")
    assert len(dataset) + len(dataset.dropped) == CLIPS
    assert dataset.dropped
    with pytest.raises(InputError, match="broken or cut off"):
        clip_of(dataset, len(dataset) - 1)
    assert clip_of(dataset, 0).name == "gligen/flickr/train-00:1"


def test_options_that_make_no_sense(data):
    for options in ({"image_size": 0}, {"max_boxes_per_data": 0}, {"crop_ratio": 0}, {"crop_ratio": 1.1}):
        section = {"FlickrGrounding": GligenConfig(**options)}
        with pytest.raises(InputError, match=f"FlickrGrounding.{min(options)} is "):
            build_data(DataConfig(name="gligen", data_path=str(data), dataset_names=section), 0)


def test_several_files_are_one_set(data):
    first, second = tsv(data), tsv(data).with_name("train-01.tsv")
    for end in (".tsv", ".lineidx"):
        second.with_suffix(end).write_bytes((data / f"GLIGEN/GROUNDING/sbu/train-00{end}").read_bytes())
    dataset = GligenTSV(data, "flickr", SIZE)
    assert len(dataset) == 2 * CLIPS
    assert clip_of(dataset, CLIPS + 1).name == "gligen/flickr/train-01:2"
    assert clip_of(dataset, CLIPS + 1).phrases == clip_of(GligenTSV(data, "sbu", SIZE), 1).phrases
    shard = first.with_name("train-0000.tsv")
    shard.write_bytes(b"".join(first.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(InputError, match=r"train-0000.tsv: begins with the same row as train-00.tsv, .* count twice"):
        GligenTSV(data, "flickr")


def test_a_wrong_lineidx(data):
    path = tsv(data).with_suffix(".lineidx")
    offsets = path.read_text().split()
    path.write_text("\n".join([offsets[0], str(int(offsets[1]) + 7), *offsets[2:]]))
    with pytest.raises(InputError, match=r"train-00.tsv:2: no row starts at byte \d+"):
        clip_of(GligenTSV(data, "flickr"), 1)
    for text, message in (
        ("0\nx\n", r"train-00.lineidx:2: 'x' is not a byte offset"),
        ("0\n²\n", r"train-00.lineidx:2: '²' is not a byte offset"),
        ("7\n", r"train-00.lineidx:1: 7 is not above"),
        (f"0\n{offsets[1]}\n{offsets[1]}\n", r"train-00.lineidx:3: \d+ is not above"),
        ("\n".join(offsets[:3]), r"train-00.lineidx:3: train-00.tsv has more rows"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            GligenTSV(data, "flickr")
    path.write_text("")
    with pytest.raises(InputError, match="is empty"):
        GligenTSV(data, "flickr")


def test_a_missing_lineidx_is_found_anew_and_written_on_demand(data):
    path = tsv(data).with_suffix(".lineidx")
    before = path.read_text()
    path.unlink()
    tsv(data).write_bytes(tsv(data).read_bytes() + b"\n\n")  # lines at the end that are empty are no rows
    dataset = GligenTSV(data, "flickr", SIZE)
    assert len(dataset) == CLIPS
    assert not path.exists()
    dataset.write_missing_lineidx()
    assert path.read_text() == before
    path.unlink()
    tsv(data).write_text("")
    with pytest.raises(InputError, match=r"train-00.tsv: is empty"):
        GligenTSV(data, "flickr")


def test_what_a_clone_or_a_copy_may_hold(data):
    (tsv(data).with_name("._train-00.tsv")).write_bytes(b"\0\5\x16\7")  # macOS writes these to other file systems
    assert len(GligenTSV(data, "flickr")) == CLIPS
    tsv(data).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(InputError, match=r"train-00.tsv: is only a pointer of Git LFS; run git lfs pull"):
        GligenTSV(data, "flickr")


def test_an_image_without_objects(data):
    row = json.loads(tsv(data).read_text().splitlines()[0].partition("\t")[2])
    tsv(data).write_text(f"0\t{json.dumps(row | {'annos': []})}\n")
    tsv(data).with_suffix(".lineidx").write_text("0\n")
    clip = clip_of(GligenTSV(data, "flickr", SIZE, 3), 0)
    assert clip.prompt == row["caption"]
    assert clip.phrases == ["", "", ""]
    assert not clip.boxes.any()
    assert not clip.box_mask.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annos": None}, "train-00.tsv:1: the row is broken"),
        ({"caption": ["a"]}, r"train-00.tsv:1: the caption is .* not a text"),
        ({"caption": "\ud800"}, r"train-00.tsv:1: the caption is .* not a text"),
        ({"annos": [{"bbox": [1, 2, float("nan"), 4], "tokens_positive": [[0, 3]]}]}, "anno 0: .* is not a box"),
        ({"annos": [{"tokens_positive": [[0, 3]]}]}, "train-00.tsv:1: anno 0: "),
        ({"image": "AAAA"}, "cannot be read as an image"),
        ({"image": "?"}, "train-00.tsv:1: the image is not base64"),
        ({"annos": [{"bbox": [9, 9, -3, -3], "tokens_positive": [[0, 3]]}]}, "anno 0: .* is not a box"),
    ],
)
def test_broken_rows(data, changes, message):
    row = json.loads(tsv(data).read_text().splitlines()[0].partition("\t")[2])
    tsv(data).write_text(f"0\t{json.dumps(row | changes)}\n")
    tsv(data).with_suffix(".lineidx").write_text("0\n")
    with pytest.raises(InputError, match=message):
        clip_of(GligenTSV(data, "flickr"), 0)
