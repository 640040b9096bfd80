"""A user's folder: what is read, and what is refused with file, line and fix."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smcd.customize.input_folder import read_folder
from smcd.data.key_frames import EASINGS, interpolate
from smcd.runtime.errors import InputError

WIDTH, HEIGHT, FRAMES = 100, 50, 4
BOX = "10,10,60,30"


def write(folder: Path, text: str | None = None, objects: object = None, image: str | None = "img.png") -> Path:
    folder.mkdir(exist_ok=True)
    if image:
        PIL.Image.fromarray(np.full((HEIGHT, WIDTH, 3), 200, np.uint8)).save(folder / image)
    if text is not None:
        (folder / "bbox.txt").write_text(text)
    if objects is not None:
        (folder / "objects.json").write_text(objects if isinstance(objects, str) else json.dumps(objects))
    return folder


def read(folder: Path, phrase: str | None = "cat", frames: int = FRAMES):
    return read_folder(folder, frames, "a cat runs", phrase)


def test_a_line_per_frame(tmp_path):
    given_input = read(write(tmp_path, "\n".join(f"{x},10,{x + 50},30" for x in (0, 10, 20, 30)) + "\n"))
    assert given_input.phrases == ["cat"]
    assert given_input.boxes == [[(x / 100, 0.2, (x + 50) / 100, 0.6)] for x in (0, 10, 20, 30)]
    assert given_input.image.size == (WIDTH, HEIGHT)


def test_key_frames_are_interpolated(tmp_path):
    boxes = read(write(tmp_path, "3: 30,10,80,30\n0: 0, 10, 50, 30")).boxes
    assert [frame[0][0] for frame in boxes] == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    "line",
    [
        "{} {} {} {}",
        "{}\t{}\t{}\t{}",
        "{};{};{};{}",
        "{} , {}; {}  {}",
        "[{}, {}, {}, {}],",
        "({} {} {} {})",
        "{},{},{},{},",
    ],
)
@pytest.mark.parametrize("frame", ["", "{k}: ", "{k}:"])
def test_other_separators_comments_headers_and_blank_lines(tmp_path, line, frame):
    lines = [frame.format(k=k) + line.format(x, 10, x + 50, 30) for k, x in enumerate((0, 10, 20, 30))]
    text = f"# by hand\n\nx1 y1 x2 y2\n{lines[0]}  # start\n{lines[1]}\n \n{lines[2]}\n{lines[3]}\n\n"
    assert read(write(tmp_path, text)).boxes == [[(x / 100, 0.2, (x + 50) / 100, 0.6)] for x in (0, 10, 20, 30)]


def test_boxes_as_a_list_of_all_frames(tmp_path):
    objects = [{"phrase": "cat", "boxes": [[0, 0, 50, 50], None, [50, 0, 100, 50], [0, 0, 100, 50]]}]
    assert read(write(tmp_path, objects=objects), phrase=None).boxes == [
        [(0, 0, 0.5, 1)],
        [None],
        [(0.5, 0, 1, 1)],
        [(0, 0, 1, 1)],
    ]


@pytest.mark.parametrize("image", ["img.jpg", "img.jpeg", "img.webp", "img.PNG", "IMG.PNG", "img.bmp"])
def test_image_formats(tmp_path, image):
    assert read(write(tmp_path, f"0: {BOX}", image=image)).image.mode == "RGB"


def test_the_only_image_is_taken_with_a_warning(tmp_path, caplog):
    write(tmp_path, f"0: {BOX}", image="photo.jpg")
    (tmp_path / "._photo.jpg").write_bytes(b"")  # beside every file that macOS copies
    assert read(tmp_path).image.size == (WIDTH, HEIGHT)
    assert "there is no img.png, so the only image, photo.jpg, is animated" in caplog.text
    with pytest.raises(InputError, match=r"needs one image, found other\.png, photo\.jpg"):
        read(write(tmp_path, image="other.png"))
    (tmp_path / "img.png").write_bytes((tmp_path / "other.png").read_bytes())
    caplog.clear()
    assert read(tmp_path).image.size == (WIDTH, HEIGHT)
    assert not caplog.text


def test_windows_files_are_read(tmp_path):
    write(tmp_path)
    (tmp_path / "bbox.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([BOX] * FRAMES).encode() + b"\r\n\r\n")
    assert len(read(tmp_path).boxes) == FRAMES


def test_the_whole_prompt_is_the_phrase_with_a_warning(tmp_path, caplog):
    assert read(write(tmp_path, f"0: {BOX}"), phrase=None).phrases == ["a cat runs"]
    assert "no --object" in caplog.text


def test_a_blank_object_is_no_object(tmp_path, caplog):
    assert read(write(tmp_path, f"0: {BOX}"), phrase=" ").phrases == ["a cat runs"]
    assert "no --object" in caplog.text


def test_several_objects_with_absence(tmp_path):
    objects = [
        {"phrase": "red car", "boxes": {"1": [0, 0, 10, 10], "2": [20, 0, 30, 10]}},
        {"phrase": "dog", "boxes": {"0": [0, 0, 50, 50], "1": None, "3": [50, 0, 100, 50]}},
    ]
    given_input = read(write(tmp_path, objects=objects), phrase=None)
    assert given_input.phrases == ["red car", "dog"]
    car, dog = zip(*given_input.boxes, strict=True)
    assert car == (None, (0, 0, 0.1, 0.2), (0.2, 0, 0.3, 0.2), (0.2, 0, 0.3, 0.2))  # absent first, held at the end
    assert dog == ((0, 0, 0.5, 1), None, None, (0.5, 0, 1, 1))  # back without interpolation


def test_boxes_beyond_the_image_are_cut_with_a_warning(tmp_path, caplog):
    boxes = read(write(tmp_path, "0: -20,-5,60,30\n3: 50,10,150,80")).boxes
    assert boxes[0][0] == (0, 0, 0.6, 0.6)
    assert boxes[3][0] == (0.5, 0.2, 1, 1)
    assert "reach beyond the image (100 x 50)" in caplog.text


def one_object(**changes) -> list:
    return [{"phrase": "cat", "boxes": {"0": [0, 0, 10, 10]}, **changes}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bbox.txt: is empty"),
        ("\n \n", "bbox.txt: is empty"),
        (f"{BOX}\n10,20,30\n{BOX}\n{BOX}", "bbox.txt:2: a box is four numbers"),
        (f"{BOX}\n\n{BOX}\n{BOX}", "3 lines for 4 frames"),
        ("# nothing\nx1,y1,x2,y2\n", "bbox.txt: is empty"),
        (f"{BOX}\n\n10,,60,30", "bbox.txt:3: a box is four numbers x1,y1,x2,y2 in pixels, separated by commas"),
        (",10,20,60,30", "bbox.txt:1: a box is four numbers"),
        ("10,5;10;60,5;30", "bbox.txt:1: a box is four numbers x1,y1,x2,y2 in pixels, separated by commas"),
        (f"x,y,w,h\n{BOX}", "bbox.txt: the columns are x,y,w,h, but they should be x1,y1,x2,y2"),
        (f"frame,x1,y1,x2,y2\n0,{BOX}", "bbox.txt: the columns are frame,x1,y1,x2,y2"),
        (f"{BOX}\n{BOX}\na,b,c,d\n{BOX}", "bbox.txt:3: "),
        (f"{BOX}\n{BOX}\nnan,0,1,1\n{BOX}", "bbox.txt:3: "),
        (f"{BOX}\n{BOX}\n0,0,inf,1\n{BOX}", "bbox.txt:3: "),
        (f"{BOX}\n60,10,10,30\n{BOX}\n{BOX}", "bbox.txt:2: 60,10,10,30 is empty"),
        (f"{BOX}\n10,30,60,30\n{BOX}\n{BOX}", "bbox.txt:2: 10,30,60,30 is empty"),
        ("\n".join([BOX] * 3), "3 lines for 4 frames; set --video_length 3"),
        ("\n".join([BOX] * 5), "5 lines for 4 frames"),
        (f"0: {BOX}\n{BOX}", "bbox.txt:2: '10,10,60,30': either every line starts with its frame"),
        (f"0: {BOX}\n0: {BOX}", "bbox.txt:2: frame 0 was given before"),
        ("0: 0.1,0.2,0.5,0.6", "all boxes lie within one pixel; give pixels of the image (100 x 50)"),
        (f"4: {BOX}", "bbox.txt:1: frame 4 is beyond the last frame, 3"),
        (f"-1: {BOX}", "bbox.txt:1: '-1' is not a frame number"),
        (f"x: {BOX}", "bbox.txt:1: 'x' is not a frame number"),
        ("1: 200,10,300,30", "bbox.txt:1: 200,10,300,30 lies outside the image"),
        ("0: 99.9999,10,300,30", "bbox.txt:1: 99.9999,10,300,30 "),
        ("0: 1_0,10,30,30", "bbox.txt:1: "),
    ],
)
def test_bad_bbox_txt(tmp_path, text, message):
    with pytest.raises(InputError) as error:
        read(write(tmp_path, text))
    assert message in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ("{", "objects.json:1: "),
        ('[\n{"phrase": "cat",\n "boxes" {}}]', "objects.json:3: "),
        ("[" * 100_000, "nested too deeply"),
        ("{}", "should be a list of objects"),
        ([], "should be a list of objects"),
        ("[" + "1" * 10_000 + "]", "objects.json: holds a number of 10000 digits"),
        (
            '[{"phrase": "cat", "boxes": {"0": [0, 0, 1, 1],}}]',
            "objects.json:1: is not JSON (delete the comma before the }",
        ),
        (["cat"], 'object 1: needs "phrase" and "boxes"'),
        ([{"phrase": "cat"}], 'object 1: needs "phrase" and "boxes"'),
        (one_object(color="red"), 'object 1: unknown key "color"'),
        (one_object(easing=["in"]), '"easing" should hold key frames'),
        (one_object(easing={"0": "bounce"}), "frame 0: the easing is 'bounce'; choose from linear, in, out, in-out"),
        (one_object(easing={"0": ["in"]}), "frame 0: the easing is "),
        (one_object(easing={"1": "in"}), '"easing" names frame \'1\', which "boxes" does not hold'),
        (one_object(phrase=" "), '"phrase" should be a name'),
        (one_object(phrase=3), '"phrase" should be a name'),
        (one_object(phrase="\ud800"), "objects.json: holds half a character"),
        (one_object(phrase="a\0b"), "objects.json:1: holds the character NUL"),
        (one_object(boxes={}), "at least one frame with a box"),
        (one_object(boxes={"0": None}), "at least one frame with a box"),
        (one_object(boxes=[[0, 0, 1, 1]]), 'object 1 ("cat"): 1 boxes for 4 frames'),
        (one_object(boxes=[None] * 4), "at least one frame with a box"),
        (one_object(boxes=[0, 0, 1, 1]), "at least one frame with a box"),
        ([{"Phrase": "cat", "boxes": {"0": [0, 0, 9, 9]}}], 'unknown key "Phrase"; did you mean phrase?'),
        ([{"phrase": "cat", "bbox": {"0": [0, 0, 9, 9]}}], 'unknown key "bbox"; did you mean boxes?'),
        (one_object(boxes={"9": [0, 0, 1, 1]}), 'object 1 ("cat"): frame 9 is beyond the last frame, 3'),
        (one_object(boxes={"one": [0, 0, 1, 1]}), "'one' is not a frame number"),
        (one_object(boxes={"0": [0, 0, 1]}), 'object 1 ("cat"), frame 0: a box is four numbers'),
        (one_object(boxes={"0": [0, 0, 1, True]}), "a box is four numbers"),
        (one_object(boxes={"0": [0, 0, 1, "1"]}), "a box is [x1, y1, x2, y2] or null"),
        (one_object(boxes={"0": "0,0,1,1"}), "a box is [x1, y1, x2, y2] or null"),
        (one_object(boxes={"0": [0, 0, 1, float("nan")]}), 'object 1 ("cat"), frame 0: a box is four numbers'),
        (one_object(boxes={"0": [0, 0, 10**400, 1]}), "holds a number of 401 digits"),
        ('[{"phrase": "cat", "boxes": {"0": [0, 0, 1, 1], "0": null}}]', 'key "0" is given twice'),
        (one_object(boxes={"0": [0, 0, 1, 1], "00": [0, 0, 2, 2]}), "frame 0 is given twice"),
    ],
)
def test_bad_objects_json(tmp_path, objects, message):
    with pytest.raises(InputError) as error:
        read(write(tmp_path, objects=objects), phrase=None)
    assert message in str(error.value)
    assert "objects.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_folders(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"neither bbox\.txt nor objects\.json"):
        read(write(tmp_path / "a"))
    with pytest.raises(InputError, match=r"both bbox\.txt and objects\.json"):
        read(write(tmp_path / "b", BOX, one_object()))
    with pytest.raises(InputError, match="leave out --object"):
        read(write(tmp_path / "c", objects=one_object()), phrase="cat")
    with pytest.raises(InputError, match="needs one image, found none of"):
        read(write(tmp_path / "d", BOX, image=None))
    (tmp_path / "d" / "img.heic").write_bytes(b"")
    with pytest.raises(InputError, match=r"needs one image, found none of .* among bbox\.txt, img\.heic"):
        read(tmp_path / "d")
    with pytest.raises(InputError, match=r"needs one image, found img\.jpg, img\.png"):
        read(write(write(tmp_path / "e", BOX), image="img.jpg"))
    write(tmp_path / "f")
    (tmp_path / "f" / "bbox.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        read(tmp_path / "f")


def test_bad_images(tmp_path, monkeypatch):
    write(tmp_path, f"0: {BOX}")
    monkeypatch.setattr("smcd.runtime.media.MAX_PIXELS", 4000)
    with pytest.raises(InputError, match="100 x 50 pixels are too many"):
        read(tmp_path)
    monkeypatch.undo()
    whole = (tmp_path / "img.png").read_bytes()
    for content in (b"", b"no image", whole[: len(whole) // 2]):
        (tmp_path / "img.png").write_bytes(content)
        with pytest.raises(InputError, match=r"img\.png: cannot be read as an image"):
            read(tmp_path)


numbers = st.floats(-300, 300, allow_nan=False)
sizes = st.floats(0.5, 200)
boxes = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), numbers, numbers, sizes, sizes)


@pytest.mark.parametrize(
    ("easing", "way"),
    [
        ("linear", [0, 0.25, 0.5, 0.75, 1]),
        ("in", [0, 0.0625, 0.25, 0.5625, 1]),
        ("out", [0, 0.4375, 0.75, 0.9375, 1]),
        ("in-out", [0, 0.15625, 0.5, 0.84375, 1]),
    ],
)
def test_easing_of_a_segment(tmp_path, easing, way):
    keys = {"0": [0, 0, 10, 10], "4": [80, 0, 90, 10], "8": [0, 0, 10, 10]}
    given_input = read(write(tmp_path, objects=one_object(boxes=keys, easing={"0": easing})), phrase=None, frames=9)
    x1 = [frame[0][0] * WIDTH / 80 for frame in given_input.boxes]
    assert x1 == pytest.approx([*way, 0.75, 0.5, 0.25, 0])  # the second segment is linear


@given(st.sampled_from([*EASINGS]), st.floats(0, 1), st.floats(0, 1))
def test_easing_never_goes_back_nor_beyond(name, one, other):
    ease = EASINGS[name]
    assert (ease(0), ease(1)) == (0, 1)
    assert 0 <= ease(min(one, other)) <= ease(max(one, other)) + 1e-12 <= 1 + 1e-12


@given(st.dictionaries(st.integers(0, 11), st.none() | boxes, min_size=1))
def test_interpolation_properties(keys):
    track = interpolate(keys, 12)
    assert len(track) == 12
    order = sorted(keys)
    assert track[: order[0]] == [None] * order[0]
    for frame, box in keys.items():
        assert track[frame] == (None if box is None else pytest.approx(box))
    for frame in range(order[-1], 12):
        assert (track[frame] is None) == (keys[order[-1]] is None)
    for box in filter(None, track):
        assert box[0] < box[2]
        assert box[1] < box[3]


def read_or_message(folder: Path, phrase: str | None):
    try:
        return read(folder, phrase), None
    except InputError as error:
        return None, str(error)


@settings(deadline=None)
@given(content=st.text(max_size=60) | st.lists(boxes.map(lambda b: ",".join(map(str, b)))).map("\n".join))
def test_any_text_is_read_or_refused_in_one_line(tmp_path_factory, content):
    folder = write(tmp_path_factory.mktemp("any"))
    (folder / "bbox.txt").write_text(content, newline="")
    result, message = read_or_message(folder, "cat")
    assert result is not None or "\n" not in message
    for (box,) in result.boxes if result else []:
        assert box is None or (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab ", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["phrase", "boxes", "0", "3", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(json_values)
def test_any_json_is_read_or_refused_in_one_line(tmp_path_factory, content):
    folder = write(tmp_path_factory.mktemp("any"), objects=json.dumps(content))
    result, message = read_or_message(folder, None)
    assert result is not None or "\n" not in message
