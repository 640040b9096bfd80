"""GOT-10k on its real layout: labels, captions, and what is refused."""

import shutil

import numpy as np
import PIL.Image
import pytest

from smcd.data.got10k import GOT10k, read_cover
from smcd.runtime.errors import InputError
from smcd.sprites.world import make_clip
from tests.data.conftest import CLIPS, FRAMES, SEED, SIZE, WORLD

FIRST = "GOT-10k_Train_000001"


def folder(data, name=FIRST):
    return data / "got10k" / "train" / name


def test_boxes_masks_and_prompts_are_those_of_the_world(shared_data):
    dataset = GOT10k(shared_data)
    assert len(dataset.names) == CLIPS
    for index in range(CLIPS):
        video, clip = dataset.video(index), make_clip(SEED, index, FRAMES, SIZE, WORLD)
        sprite = clip.sprites[0]
        assert video.prompt == f"A {sprite.phrase} that is {sprite.motion}. "
        assert video.phrases == [sprite.phrase]
        assert np.array_equal(video.box_mask[:, 0], clip.box_mask[:, 0])
        assert np.abs(video.boxes[:, 0] - clip.boxes[:, 0]).max() < 1e-5


def test_some_object_is_absent_in_some_frame(shared_data):
    dataset = GOT10k(shared_data)
    assert min(dataset.video(index).box_mask.min() for index in range(CLIPS)) == 0


def test_frames_are_those_of_the_world(shared_data):
    dataset = GOT10k(shared_data)
    image = np.asarray(dataset.images(1, [5], None)[0], dtype=float)
    truth = make_clip(SEED, 1, FRAMES, SIZE, WORLD).frames
    errors = [np.abs(image - frame).mean() for frame in truth]
    assert int(np.argmin(errors)) == 5
    assert min(errors) < 6


@pytest.mark.parametrize("name", ["got-10k", "GOT-10k", "GOT10K", "GOT_10k"])
def test_the_folder_may_be_called_otherwise(data, name):
    (data / "got10k").rename(data / name)
    assert len(GOT10k(data).names) == CLIPS


def test_the_path_may_be_that_of_the_dataset_itself(data):
    assert len(GOT10k(data / "got10k").names) == CLIPS


def test_captions_from_the_file(data):
    (data / "got10k" / "got10k_train_caption.json").write_text(f'{{"{FIRST}": "A shape floats by."}}')
    dataset = GOT10k(data)
    assert dataset.video(0).prompt == "A shape floats by."
    assert dataset.video(1).prompt.startswith("A ")


def test_captions_that_fit_no_sequence_are_told(data, caplog):
    (data / "got10k" / "got10k_train_caption.json").write_text('{"000001": "A shape floats by."}')
    assert GOT10k(data).video(0).prompt.startswith("A ")
    assert "got10k_train_caption.json: has a caption for none of the 6 videos (its first key is '000001'" in caplog.text


def shrink(data, *numbers):
    """Frames at half their size, as in some real sequences."""
    for number in numbers:
        path = folder(data) / f"{number:08d}.jpg"
        with PIL.Image.open(path) as image:
            small = image.resize((SIZE // 2, SIZE // 2))
        small.save(path)


def test_a_sequence_ends_where_its_frames_change_their_size(data, shared_data, caplog):
    shrink(data, *range(9, FRAMES + 1))
    dataset, before = GOT10k(data), GOT10k(shared_data).video(0)
    video = dataset.video(0)
    assert len(video) == 8
    assert np.array_equal(video.boxes, before.boxes[:8])
    assert len(dataset.images(0, range(8), None)) == 8
    assert "00000009.jpg: is 24 x 24, the frames before are 48 x 48" in caplog.text
    assert f"only the first 8 of {FRAMES} frames are used" in caplog.text
    assert read_cover(folder(data), 8).tolist() == read_cover(folder(shared_data), FRAMES)[:8].tolist()
    assert GOT10k(data, min_frames=9).dropped == {FIRST: "8 frames, 9 are needed"}


def test_some_frames_of_another_size_are_refused_when_they_are_read(data):
    shrink(data, 5, 6)
    dataset = GOT10k(data)
    assert len(dataset.images(0, range(4), (16, 16))) == 4
    for frames in ([3, 4], [4, 5]):
        with pytest.raises(InputError, match=r"00000005.jpg: has another size than the first frame"):
            dataset.images(0, frames, (16, 16))


def test_labels_that_real_sequences_may_lack(data):
    (folder(data) / "absence.label").unlink()
    (folder(data) / "cover.label").unlink()
    assert len(GOT10k(data).names) == CLIPS
    assert read_cover(folder(data), FRAMES) is None
    assert read_cover(folder(data, "GOT-10k_Train_000002"), FRAMES).max() == 8


@pytest.mark.parametrize(("number", "used"), [("001665", False), ("009323", False), ("001666", True)])
def test_the_published_broken_sequences_are_dropped(data, number, used):
    folder(data).rename(folder(data, f"GOT-10k_Train_{number}"))
    dataset = GOT10k(data)
    assert (f"GOT-10k_Train_{number}" in dataset.names) == used
    assert used or "published list" in dataset.dropped[f"GOT-10k_Train_{number}"]


def test_what_else_lies_in_the_folder_does_not_matter(data):
    (data / "got10k" / "train" / ".cache").mkdir()
    (data / "got10k" / "train" / "list.txt").write_text("x")
    (folder(data) / "._00000001.jpg").write_text("x")
    assert len(GOT10k(str(data)).names) == CLIPS


def test_short_sequences_are_dropped(shared_data):
    dataset = GOT10k(shared_data, min_frames=FRAMES + 1)
    assert dataset.names == []
    assert set(dataset.dropped.values()) == {f"{FRAMES} frames, {FRAMES + 1} are needed"}


def test_a_box_outside_the_image_is_an_absent_object(data):
    path = folder(data) / "groundtruth.txt"
    lines = path.read_text().splitlines()
    for box in ("-30,-30,10,10", "5,5,0,7", "-1,-1,-1,-1"):
        path.write_text("\n".join([box, *lines[1:], "", ""]))  # and lines at the end that are empty
        video = GOT10k(data).video(0)
        assert video.box_mask[0, 0] == 0
        assert not video.boxes[0].any()


def shorten(path):
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:-2]))


def change(path, line, text):
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))


BREAKAGES = {
    "fewer lines": (
        lambda f: shorten(f / "groundtruth.txt"),
        r"groundtruth.txt:10: ends after 10 lines, but there are 12 frames",
    ),
    "fewer labels": (lambda f: shorten(f / "absence.label"), r"absence.label:10: ends after 10 lines"),
    "a missing frame": (
        lambda f: (f / "00000005.jpg").unlink(),
        r"00000005.jpg: is missing, and groundtruth.txt has 12 lines",
    ),
    "another name": (
        lambda f: (f / "00000005.jpg").rename(f / "extra.jpg"),
        r"00000005.jpg: is missing, and groundtruth.txt has 12 lines",
    ),
    "NaN": (lambda f: change(f / "groundtruth.txt", 3, "1,2,nan,4"), r"groundtruth.txt:3: '1,2,nan,4' is not 4 finite"),
    "three numbers": (lambda f: change(f / "groundtruth.txt", 3, "1,2,3"), r"groundtruth.txt:3: '1,2,3' is not 4"),
    "a negative size": (
        lambda f: change(f / "groundtruth.txt", 3, "5,5,-3,7"),
        r"groundtruth.txt:3: \[5.0, 5.0, -3.0, 7.0\] is not a box",
    ),
    "a caption that is none": (
        lambda f: (f.parent.parent / "got10k_train_caption.json").write_text(f'{{"{FIRST}": ["A shape."]}}'),
        f"got10k_train_caption.json: the caption of {FIRST} is .* not a text",
    ),
    "empty labels": (lambda f: (f / "groundtruth.txt").write_text(""), r"groundtruth.txt:0: ends after 0 lines"),
    "no meta": (lambda f: (f / "meta_info.ini").unlink(), r"meta_info.ini: is missing"),
    "no class": (lambda f: (f / "meta_info.ini").write_text("[METAINFO]\n"), "has no line object_class"),
    "no resolution": (lambda f: change(f / "meta_info.ini", 6, "resolution: big"), r"resolution is 'big'"),
    "negative resolution": (
        lambda f: change(f / "meta_info.ini", 6, "resolution: (-48, 48)"),
        r"resolution is '\(-48, 48\)'",
    ),
    "always absent": (lambda f: (f / "absence.label").write_text("1\n" * FRAMES), "absent in all frames"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_sequence_is_an_error_or_dropped(data, breakage):
    act, message = BREAKAGES[breakage]
    act(folder(data))
    with pytest.raises(InputError, match=message):
        GOT10k(data)
    dataset = GOT10k(data, on_error="skip")
    assert len(dataset.names) == CLIPS - 1
    assert list(dataset.dropped) == [FIRST]


def test_broken_frames_are_errors_that_name_the_file(data):
    path = folder(data) / "00000003.jpg"
    dataset = GOT10k(data)
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"", b"no image"):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"00000003.jpg: cannot be read as an image"):
            dataset.images(0, [2], None)
    path.unlink()
    with pytest.raises(InputError, match=r"00000003.jpg: "):
        dataset.images(0, [2], None)


def test_missing_folders(tmp_path, data):
    with pytest.raises(InputError, match="has no folder got10k/train"):
        GOT10k(tmp_path)
    with pytest.raises(InputError, match="has no folder got10k/val"):
        GOT10k(data, "val")
    shutil.rmtree(data / "got10k" / "train")
    (data / "got10k" / "train").mkdir()
    with pytest.raises(InputError, match="holds no sequences"):
        GOT10k(data)


def test_scaled_decoding_stays_close_to_the_plain_one(tmp_path):
    from smcd.runtime.media import read_frame, resize

    photo = PIL.Image.open("examples/coffee/img.jpg").convert("RGB")
    path = tmp_path / "frame.jpg"
    photo.resize((1800, 1200), PIL.Image.Resampling.LANCZOS).save(path, quality=90)
    scaled = read_frame(path, (256, 256))
    assert scaled.size == (450, 300)
    plain = resize(PIL.Image.open(path).convert("RGB"), 256, 256)
    difference = np.abs(np.asarray(resize(scaled, 256, 256), float) - np.asarray(plain, float)).mean()
    assert difference < 2
    assert read_frame(path).size == (1800, 1200)
