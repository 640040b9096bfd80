"""A project on the disk: saved as it changes, read by smcd animate, and never lost."""

import json
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smcd.config import CustomizeConfig, EditConfig, ModelConfig, SamplingConfig, check, load, read_config
from smcd.customize.input_folder import read_folder
from smcd.editor.project import Changed, Project
from smcd.editor.server import edit
from smcd.editor.uploads import own_image
from smcd.runtime.errors import InputError
from tests.editor.conftest import HEIGHT, OBJECTS, WIDTH, client_of, contents, png, put


def project(folder: Path) -> Project:
    return Project(folder, ModelConfig(), own_image)


def test_what_is_saved_is_what_smcd_animate_reads(client, folder):
    assert put(client, objects=OBJECTS, settings={"prompt": "A car.", "num_frames": 9, "seed": 7}).status_code == 200
    config = read_config(CustomizeConfig, folder / "config.yaml")
    check(config)
    assert (config.prompt, config.seed, config.validation_data.video_length) == ("A car.", 7, 9)
    found = read_folder(Path(config.input_data_path), 9, config.prompt)
    assert found.phrases == ["red car", "dog"]
    x1 = [box and box[0] * WIDTH for box, _ in found.boxes]
    eased = [50 * t * t * (3 - 2 * t) for t in (f / 7 for f in range(8))]
    assert x1 == pytest.approx([*eased, 50])
    assert [box is not None for _, box in found.boxes] == [False, True, True, *[False] * 6]


frames = st.integers(0, 20).map(str)
numbers = st.floats(-200, 200).map(lambda x: round(x, 3))
boxes = st.builds(lambda x, y, w, h: [x, y, x + w, y + h], numbers, numbers, st.integers(1, 99), st.integers(1, 99))
objects = st.lists(
    st.fixed_dictionaries(
        {
            "phrase": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
            "boxes": st.dictionaries(frames, st.none() | boxes, max_size=4),
            "easing": st.dictionaries(frames, st.sampled_from(["linear", "in", "out", "in-out"]), max_size=2),
        },
        optional={"color": st.just("#abc"), "hidden": st.booleans()},
    ),
    max_size=3,
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(objects, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\x85")))  # PyYAML loses \x85
def test_whatever_is_drawn_comes_back_after_a_crash(folder, drawn, prompt):
    """Also half-made objects: without a box, a name, or with key frames beyond the last frame."""
    before = project(folder)
    before.update(before.revision, drawn, vars(before.settings) | {"prompt": prompt})
    after = project(folder)
    assert after.settings.prompt == prompt
    for item in drawn:  # easing without its key frame means nothing
        item["easing"] = {frame: name for frame, name in item["easing"].items() if frame in item["boxes"]}
    assert after.objects == drawn
    assert all([*map(int, item["boxes"])] == sorted(map(int, item["boxes"])) for item in after.objects)
    assert after.revision == before.revision


@pytest.mark.parametrize(
    ("objects", "settings", "message"),
    [
        ([], {}, "no objects yet: draw a box"),
        ([{"phrase": "cat", "boxes": {}}], {}, "at least one frame with a box"),
        ([{"phrase": " ", "boxes": {"0": [0, 0, 9, 9]}}], {}, "should be a name"),
        (
            [{"phrase": "cat", "boxes": {"9": [0, 0, 9, 9]}}],
            {},
            'object 1 ("cat"): frame 9 is beyond the last frame, 7',
        ),
        (OBJECTS, {"prompt": " "}, "no prompt"),
    ],
)
def test_what_cannot_be_animated_yet_is_kept_and_refused(client, folder, objects, settings, message):
    assert put(client, objects=objects, settings={"prompt": "A car."} | settings).status_code == 200
    answer = client.post("/api/jobs", json={"seeds": [1]})
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert not (folder / "results").exists()
    assert len(project(folder).objects) == len(objects)


@pytest.mark.parametrize("seeds", [[], None, [1.5], [True], [-1], [2**70], [1] * 100])
def test_seeds_are_a_few_whole_numbers(client, folder, seeds):
    put(client, settings={"prompt": "A car."})
    answer = client.post("/api/jobs", json={"seeds": seeds})
    assert answer.status_code == 400
    assert "seed" in answer.json()["error"]
    assert not (folder / "results").exists()


def test_a_result_that_names_another_folder_is_left_out(folder, decoder):
    """A project may come from someone else, and a result is deleted with its folder."""
    record = {"id": "../..", "kind": "animate", "seed": 1, "created": "", "steps": 1, "state": "done"}
    (folder / "results" / "1").mkdir(parents=True)
    settings = client_of(folder, decoder).get("/api/project").json()["settings"]
    (folder / "results" / "1" / "job.json").write_text(json.dumps(record | {"settings": settings}))
    assert client_of(folder, decoder).get("/api/jobs").json() == {"jobs": []}
    (folder / "results" / "1" / "job.json").write_text(json.dumps(record | {"settings": settings, "id": "1"}))
    assert len(client_of(folder, decoder).get("/api/jobs").json()["jobs"]) == 1


def test_options_of_the_command_line_win_over_the_saved_ones(folder):
    saved = project(folder)
    saved.update(0, [], vars(saved.settings) | {"num_inference_steps": 30, "num_frames": 4})
    model = ModelConfig(validation_data=SamplingConfig(num_inference_steps=20))
    opened = Project(folder, model, own_image)
    assert (opened.settings.num_inference_steps, opened.settings.num_frames) == (20, 4)


def test_the_projects_own_options_can_be_given_back(folder):
    saved = project(folder)
    saved.update(0, [], vars(saved.settings) | {"prompt": "A car."})
    assert load(EditConfig, [str(folder), "--config", str(folder / "config.yaml")]).trained_ckpt_path == "sprites"


def test_without_the_extra_packages_the_fix_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r"needs uvicorn: pip install 'smcd\[app\]'"):
        edit(EditConfig(folder=str(folder), port=0, browser=False))


def test_a_port_that_is_taken_is_said(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="name another --port"):
        edit(EditConfig(folder=str(folder), port=taken.getsockname()[1], browser=False))


def test_an_empty_project_says_what_comes_first(tmp_path, decoder):
    client = client_of(tmp_path / "new", decoder)
    put(client, settings={"prompt": "A car."})
    assert client.get("/api/project").json()["image"] is None
    assert "no image yet" in client.post("/api/jobs", json={"seeds": [1]}).json()["error"]
    assert "no video yet" in client.post("/api/track", json={"boxes": []}).json()["error"]
    assert "boxes need their image" in client.post("/api/open?name=a.json", content=b"[]").json()["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"objects": 3},
        {"objects": [3]},
        {"objects": [{"phrase": "cat"}]},
        {"objects": [{"phrase": 3, "boxes": {}}]},
        {"objects": [{"phrase": "\ud800", "boxes": {}}]},
        {"objects": [{"phrase": "cat", "boxes": {"x": None}}]},
        {"objects": [{"phrase": "cat", "boxes": {"0": [0, 0, 1]}}]},
        {"objects": [{"phrase": "cat", "boxes": {"0": [0, 0, 1, float("nan")]}}]},
        {"objects": [{"phrase": "cat", "boxes": {"0": [0, 0, 1, 10**400]}}]},
        {"objects": [{"phrase": "cat", "boxes": {"0": [5, 5, 1, 9]}}]},
        {"objects": [{"phrase": "cat", "boxes": {}, "easing": {"0": "bounce"}}]},
        {"objects": [{"phrase": "cat", "boxes": {}, "html": "<b>"}]},
        {"objects": [{"phrase": "cat", "boxes": {}}] * 1000},
        {"settings": {"num_frames": 0}},
        {"settings": {"num_frames": "8"}},
        {"settings": {"num_frames": True}},
        {"settings": {"width": 10**9}},
        {"settings": {"fps": float("nan")}},
        {"settings": {"trained_ckpt_path": "elsewhere"}},
        {"settings": {"prompt": "x" * 100_000}},
        {"settings": {"prompt": "\ud800"}},
    ],
    ids=lambda change: str(change)[:60],
)
def test_what_is_no_project_is_refused_in_one_line_and_changes_nothing(client, folder, change):
    before = contents(folder)
    answer = put(client, **change)
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]
    assert contents(folder) == before


def test_of_two_tabs_the_second_gets_what_the_first_has_saved(client):
    old = client.get("/api/project").json()["revision"]
    assert put(client, settings={"prompt": "From the first tab."}).status_code == 200
    answer = put(client, revision=old, settings={"prompt": "From the second tab."})
    assert answer.status_code == 409
    assert answer.json()["settings"]["prompt"] == "From the first tab."


def test_bbox_txt_becomes_objects_json_at_the_first_change(tmp_path):
    (tmp_path / "img.png").write_bytes(png())
    (tmp_path / "bbox.txt").write_text("0,0,10,10\n5,5,15,15\n")
    opened = project(tmp_path)
    assert opened.settings.num_frames == 2
    assert opened.objects[0]["boxes"] == {"0": [0, 0, 10, 10], "1": [5, 5, 15, 15]}
    assert not (tmp_path / "objects.json").exists()
    opened.update(0, opened.objects, vars(opened.settings))
    assert read_folder(tmp_path, 2, "a").boxes == [[(0, 0, 0.1, 0.2)], [(0.05, 0.1, 0.15, 0.3)]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("objects.json", "[{"),
        ("objects.json", '[{"phrase": "cat"}]'),
        ("img.png", "no image"),
        ("img.jpg", "a second image"),
        ("config.yaml", "no_such_option: 1"),
        ("editor.json", "[]"),
    ],
)
def test_a_broken_folder_ends_the_command_in_one_line(folder, name, content):
    (folder / name).write_text(content)
    before = contents(folder)
    with pytest.raises(InputError) as error:
        edit(EditConfig(folder=str(folder), port=0, browser=False))
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("size", "expected"),
    [((200, 100), [0, 0, 40, 40]), ((50, 25), [0, 0, 20, 20])],
    ids=["boxes_fit", "boxes_are_scaled"],
)
def test_a_new_image_keeps_the_boxes_where_they_fit(client, folder, size, expected):
    state = client.post("/api/image", content=png(*size)).json()
    assert (state["image"]["width"], state["image"]["height"]) == size
    assert state["objects"][0]["boxes"]["0"] == pytest.approx(expected)
    assert client.get(state["image"]["url"]).content == (folder / "img.png").read_bytes() == png(*size)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("JPEG", "img.jpg"), ("WEBP", "img.webp"), ("PNG", "img.png"), ("BMP", "img.png")],
)
def test_there_is_always_one_image(client, folder, kind, name):
    assert client.post("/api/image", content=png(kind=kind)).json()["image"]["name"] == name
    assert [path.name for path in folder.glob("img.*")] == [name]


def test_what_is_replaced_can_be_opened_again(client, folder):
    put(client, settings={"prompt": "Mine."})
    client.post("/api/examples/two circles")
    [earlier] = (folder / "earlier").iterdir()
    found = project(earlier)
    assert (found.settings.prompt, found.image.size) == ("Mine.", (WIDTH, HEIGHT))
    assert [item["phrase"] for item in found.objects] == ["red car", "dog"]


@pytest.mark.parametrize(
    "content", [b"", b"no image", png()[:-30], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_image_is_refused_in_one_line(client, folder, content):
    before = contents(folder)
    answer = client.post("/api/image", content=content)
    assert answer.status_code == 400
    assert "image" in answer.json()["error"]
    assert str(folder) not in answer.json()["error"]
    assert contents(folder) == before


def test_examples_are_whole_projects(tmp_path, decoder):
    client = client_of(tmp_path / "new", decoder)
    names = client.get("/api/project").json()["examples"]
    assert names
    for name in names:
        state = client.post(f"/api/examples/{name}").json()
        assert state["settings"]["prompt"]
        assert client.get(f"/api/examples/{name}/image").headers["content-type"] == "image/png"
        given = read_folder(tmp_path / "new", state["settings"]["num_frames"], state["settings"]["prompt"])
        assert given.phrases


def test_a_disk_that_is_full_is_said_and_the_project_is_as_it_was(client, folder, monkeypatch):
    before = client.get("/api/project").json()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("smcd.runtime.files.sync", full)
    answer = put(client, settings={"prompt": "More."})
    assert "No space left" in answer.json()["error"]
    monkeypatch.undo()
    assert client.get("/api/project").json() == before
    assert project(folder).settings.prompt == ""


def test_a_change_to_an_old_revision_is_refused(folder):
    with pytest.raises(Changed):
        project(folder).update(-1, [], vars(project(folder).settings))


def test_objects_and_settings_must_be_given(folder):
    with pytest.raises(InputError):
        project(folder).update(0, None, {})
