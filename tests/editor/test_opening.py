"""Files that the editor opens: projects as zips, and boxes of other tools; and what it refuses."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smcd.data.key_frames import interpolate
from tests.editor.conftest import OBJECTS, client_of, contents, png, put


def zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return stream.getvalue()


def post(client, name: str, content: object):
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return client.post("/api/open", params={"name": name}, content=data)


def opened(client, name: str, content: object) -> dict[str, dict]:
    """The boxes of the objects by name, after opening a file."""
    answer = post(client, name, content)
    assert answer.status_code == 200, answer.json()
    return {item["phrase"]: item["boxes"] for item in answer.json()["objects"]}


def test_a_saved_zip_is_the_same_project_elsewhere(client, decoder, tmp_path):
    put(client, objects=OBJECTS, settings={"prompt": "A car.", "seed": 7, "width": 64, "guidance_scale": 3})
    other = client_of(tmp_path / "other", decoder)
    assert post(other, "mine.zip", client.get("/api/project.zip").content).status_code == 200
    same = ("objects", "settings")
    before, after = client.get("/api/project").json(), other.get("/api/project").json()
    assert [before[key] for key in same] == [after[key] for key in same]
    assert other.get("/api/image").content == client.get("/api/image").content


def test_a_zip_with_a_folder_and_other_files(client, folder, tmp_path):
    answer = post(
        client, "a.zip", zip_of({"cat/img.jpeg": png(kind="JPEG"), "cat/notes.txt": b"x", "cat/deep/img.png": b""})
    )
    assert answer.json()["image"]["name"] == "img.jpg"
    assert not list(tmp_path.rglob("notes.txt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zip_of({"../img.png": png()}), "outside of its folder"),
        (zip_of({"img.png": png(), "a/../../objects.json": b"[]"}), "outside of its folder"),
        (zip_of({"/tmp/img.png": png()}), "outside of its folder"),
        (zip_of({"..\\img.png": png()}), "outside of its folder"),
        (zip_of({"C:\\img.png": png()}), "outside of its folder"),
        (zip_of({"img.png": b"\0" * (201 << 20)}), "unpacks to more than 200 MB"),
        (zip_of({"readme.txt": b"x"}), "holds no project"),
        (zip_of({}), "holds no project"),
        (zip_of({"img.png": b"no image"}), "cannot be read as an image"),
        (zip_of({"img.png": png(), "img.jpg": png()}), "needs one image"),
        (zip_of({"img.png": png(), "objects.json": b"[{"}), "objects.json:1: is not JSON"),
        (zip_of({"img.png": png(), "config.yaml": b"seed: [1"}), "config.yaml:1: is not YAML"),
        (zip_of({"img.png": png(), "config.yaml": b"seed: -1"}), "seed is -1"),
        (zip_of({"img.png": png(20_000, 6_000)}), "pixels are too many"),
        (zip_of({"img.png": png()})[:-20], "a.zip: "),
        (b"", "a.zip: "),
    ],
)
def test_a_zip_that_is_no_project_changes_nothing(client, folder, tmp_path, content, message):
    before = contents(tmp_path)
    answer = post(client, "a.zip", content)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert str(tmp_path) not in answer.json()["error"]
    assert contents(tmp_path) == before


def test_objects_json_and_bbox_txt_of_smcd(client):
    assert opened(client, "boxes.json", [{"phrase": "cat", "boxes": {"0": [1, 2, 3, 4]}}]) == {
        "cat": {"0": [1, 2, 3, 4]}
    }
    assert opened(client, "a.json", [{"phrase": "cat", "boxes": [[1, 2, 3, 4], None]}])["cat"].keys() == {"0", "1"}
    assert opened(client, "bbox.txt", b"0: 1,2,3,4\n5: 2,2,4,4") == {"object": {"0": [1, 2, 3, 4], "5": [2, 2, 4, 4]}}
    assert opened(client, "bbox.txt", b"1,2,3,4\n2,2,4,4")["object"].keys() == {"0", "1"}
    assert client.get("/api/project").json()["settings"]["num_frames"] == 2


def test_mot_text(client):
    lines = [
        "1,1,11,11,20,10,1,-1,-1,-1",
        "3,1,31,11,20,10,1,-1,-1,-1",
        "2,1,21,11,20,10,1,-1,-1,-1",
        "1,7,1,1,5,5,0,1,1",
    ]
    boxes = {"0": [10, 10, 30, 20], "2": [30, 10, 50, 20]}  # linear: the frame between is no key frame
    assert opened(client, "gt.txt", "\n".join(lines).encode()) == {"object 1": boxes}
    assert "line 2" in post(client, "gt.txt", b"1,1,11,11,20,10,1\n1,1,x,11,20,10,1").json()["error"]


def test_more_frames_than_the_project_has_are_spread_over_it(client):
    lines = "\n".join(f"{frame},3,{frame},1,10,10,1" for frame in range(1, 72))
    [boxes] = opened(client, "gt.txt", lines.encode()).values()
    assert boxes == {"0": [0, 0, 10, 10], "7": [70, 0, 80, 10]}


def test_youtube_vis_json(client):
    content = {
        "videos": [{"id": 1, "width": 200, "height": 100, "length": 3}],
        "categories": [{"id": 5, "name": "dog"}],
        "annotations": [{"video_id": 1, "category_id": 5, "bboxes": [[20, 20, 40, 20], None, [40, 20, 40, 20]]}],
    }
    expected = {"dog": {"0": [10, 10, 30, 20], "1": None, "2": [20, 10, 40, 20]}}  # the image is half as large
    assert opened(client, "instances.json", content) == expected
    content["annotations"] *= 2
    assert opened(client, "instances.json", content).keys() == {"dog 1", "dog 2"}
    content["videos"] *= 2
    assert "holds 2 videos" in post(client, "instances.json", content).json()["error"]


def test_coco_vid_json(client):
    content = {
        "images": [{"id": 30 + n, "frame_id": n, "width": 100, "height": 50} for n in range(3)],
        "categories": [{"id": 5, "name": "dog"}],
        "annotations": [
            {"image_id": 30 + n, "track_id": 9, "category_id": 5, "bbox": [10 * n * n, 10, 20, 10]} for n in (0, 1, 2)
        ],
    }
    boxes = {"0": [0, 10, 20, 20], "1": [10, 10, 30, 20], "2": [40, 10, 60, 20]}
    assert opened(client, "coco.json", content) == {"dog": boxes}


@pytest.mark.parametrize(
    "content",
    [
        [{"x": 20, "y": 25}, {"x": 80, "y": 25}],
        [[20, 25], [80, 25]],
        [[{"x": 20, "y": 25}, {"x": 80, "y": 25}]],
        [[[20, 25], [50, 25], [80, 25]]],
        ['[{"x": 20, "y": 25}, {"x": 80, "y": 25}]'],
    ],
    ids=["points", "pairs", "list_of_splines", "list_of_tracks", "strings"],
)
def test_points_of_a_spline_editor_become_squares_around_them(client, content):
    half = 50 * 0.25 / 2
    [keys] = opened(client, "spline.json", content).values()
    track = interpolate({int(frame): box for frame, box in keys.items()}, 8)
    expected = [[x - half, 25 - half, x + half, 25 + half] for x in np.linspace(20, 80, 8)]
    assert np.array(track) == pytest.approx(np.array(expected), abs=0.5)


anything = st.binary(max_size=60) | st.recursive(
    st.none() | st.integers() | st.floats() | st.text("ab,:1 ", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["annotations", "bboxes", "videos", "images", "image_id", "bbox", "x", "y", "id", "phrase"]
            ),
            inner,
        )
    ),
    max_leaves=10,
).map(lambda content: json.dumps(content).encode())


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(anything, st.sampled_from(["a.zip", "a.json", "a.txt", "a", "<b>.json", "../a.txt"]))
def test_anything_is_opened_or_refused_in_one_line(client, content, name):
    answer = post(client, name, content)
    assert answer.status_code in (200, 400)
    assert answer.status_code == 200 or "\n" not in answer.json()["error"]
