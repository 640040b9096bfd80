"""Downloads from a stand-in for the hub: what is downloaded, and what is said if that fails."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import CLIPModel

from smcd import SMCDPipeline
from smcd.convert import load_pipeline, sampling_defaults
from smcd.runtime.errors import InputError
from smcd.runtime.hub import hub_folder
from smcd.runtime.pretrained import MissingModel, Pretrained
from tests.convert.published import write_diffusers_base, write_published
from tests.evaluation.metrics.tiny import write_clip
from tests.hub import Hub, serve
from tests.test_pipeline import run

LARGE = bytes(range(256)) * 100


def point_to(url: str, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one repository, owner/name, of a few files."""
    (tmp_path / "repository").mkdir()
    for name in ("a.json", "b.safetensors", "c.json"):
        (tmp_path / "repository" / name).write_bytes(LARGE if name == "b.safetensors" else b"{}")
    with serve() as server:
        server.repositories["owner/name"] = tmp_path / "repository"
        point_to(server.url, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(time, "sleep", lambda _: None)  # between retries
        yield server


def test_a_saved_pipeline_loads_by_its_hub_id(hub, pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "pipeline")
    hub.repositories["owner/pipeline"] = tmp_path / "pipeline"
    loaded = SMCDPipeline.from_pretrained("owner/pipeline", position_net=pipe.position_net)
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(run(loaded), run(pipe))
    assert loaded.position_net is pipe.position_net
    assert not [name for name in hub.sent if name.startswith("position_net/")]
    hub.sent.clear()
    again = load_pipeline("owner/pipeline")
    assert torch.equal(again.unet.conv_in.weight, pipe.unet.conv_in.weight)
    assert {name.split("/")[0] for name in hub.sent} == {"position_net"}


def test_a_base_is_downloaded_once_and_without_its_unet(hub, pipe, tmp_path):
    base = write_diffusers_base(tmp_path / "base", pipe)
    for part, name in (("vae", "diffusion_pytorch_model"), ("text_encoder", "model"), ("unet", "model")):
        (base / part).mkdir(exist_ok=True)
        for ending in (".bin", ".fp16.bin", ".fp16.safetensors"):
            (base / part / (name + ending)).write_bytes(LARGE)
    (base / "text_encoder" / "pytorch_model.bin").write_bytes(LARGE)
    hub.repositories["owner/base"] = base
    published = write_published(tmp_path / "published", pipe)
    hub.repositories["owner/published"] = published
    loaded = load_pipeline("owner/published", "owner/base")
    assert torch.equal(loaded.vae.decoder.conv_in.weight, pipe.vae.decoder.conv_in.weight)
    weights = [name for name in hub.sent if name.endswith((".bin", ".safetensors"))]
    assert sorted(weights) == [
        "pytorch_model.bin",
        "pytorch_model_1.bin",
        "pytorch_model_2.bin",
        "text_encoder/model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]


@pytest.mark.parametrize(
    ("files", "variant", "taken"),
    [
        (["m.bin"], None, ["m.bin"]),
        (["m.bin", "n.safetensors"], None, ["n.safetensors"]),
        (["m-1-of-2.bin", "m-2-of-2.bin"], None, ["m-1-of-2.bin", "m-2-of-2.bin"]),
        (["m.bin", "m.fp16.safetensors", "m.fp16-1-of-2.safetensors"], None, ["m.bin"]),
        (["m.bin", "m.fp16.safetensors", "m.safetensors"], "fp16", ["m.fp16.safetensors"]),
        (["m.bf16.safetensors", "m.safetensors"], "fp16", ["m.safetensors"]),
    ],
)
def test_weights_that_lie_there_in_several_forms_are_taken_once(hub, tmp_path, files, variant, taken):
    (tmp_path / "several" / "unet").mkdir(parents=True)
    for name in files:
        (tmp_path / "several" / "unet" / name).write_bytes(LARGE + name.encode())
    hub.repositories["owner/several"] = tmp_path / "several"
    folder = hub_folder("owner/several", ["unet/*"], variant)
    assert sorted(path.name for path in (folder / "unet").iterdir()) == sorted(taken)
    assert sorted(hub.sent) == sorted(f"unet/{name}" for name in taken)


@pytest.mark.parametrize("end", ["broken", "stalled"])
def test_a_download_that_breaks_off_says_so_and_goes_on_the_next_time(hub, end):
    hub.breaks["b.safetensors"] = end
    with pytest.raises(InputError, match=r"^owner/name: the download broke off \(.*\); run it again") as caught:
        hub_folder("owner/name", ["*"])
    assert "\n" not in str(caught.value)
    hub.breaks.clear()
    hub.sent.clear()
    assert (hub_folder("owner/name", ["*"]) / "b.safetensors").read_bytes() == LARGE
    assert hub.sent == ["b.safetensors"]


@pytest.mark.parametrize(
    ("repo_id", "message"),
    [
        ("owner/gated", r"restricted and you are not in the authorized list.*accept its terms on .*/owner/gated, then"),
        ("owner/none", r"no such repository, or hides it from you \(Invalid username or password.\): check the name"),
        ("ow ner/name", "no hub id has this form"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_its_reason(hub, repo_id, message):
    hub.repositories["owner/gated"] = hub.repositories["owner/name"]
    hub.gated.add("owner/gated")
    with pytest.raises(InputError, match=message) as caught:
        hub_folder(repo_id, ["*.json"])
    assert "\n" not in str(caught.value)


def test_a_repository_that_is_no_pipeline_is_named(hub):
    with pytest.raises(InputError, match=r"owner/name: is no saved pipeline, it has no model_index\.json; for"):
        SMCDPipeline.from_pretrained("owner/name")


def test_a_base_without_model_index_says_nothing_of_its_defaults(hub, pipe, tmp_path):
    hub.repositories["owner/published"] = write_published(tmp_path / "published", pipe)
    assert sampling_defaults("owner/published", "owner/name") == {"height": 256, "width": 256, "guidance_scale": 7.5}


def test_a_revision_that_is_not_there_is_named(hub):
    with pytest.raises(InputError, match=r"hub does not give it \(Invalid rev id: nowhere"):
        SMCDPipeline.from_pretrained("owner/name", revision="nowhere")


def test_without_a_connection_an_earlier_download_has_to_do(hub, monkeypatch):
    folder = hub_folder("owner/name", ["*"])
    point_to("http://127.0.0.1:9", monkeypatch)
    assert hub_folder("owner/name", ["*"]) == folder
    assert hub_folder("owner/name", ["*"], local_files_only=True) == folder
    with pytest.raises(InputError, match=r"owner/never: no such folder, and the hub does not give it \(ConnectE"):
        hub_folder("owner/never", ["*"])


def test_a_full_disk_is_named(hub, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "cache")

    monkeypatch.setattr("smcd.runtime.hub.hf_hub_download", full)
    with pytest.raises(InputError, match=r"cannot be stored \(.*No space left on device.*HF_HOME"):
        hub_folder("owner/name", ["*"])


def test_a_model_of_the_scores_that_breaks_off_is_missing_not_a_traceback(hub, tmp_path):
    hub.repositories["owner/clip"] = write_clip(tmp_path / "clip")
    hub.breaks["model.safetensors"] = "broken"
    with pytest.raises(MissingModel, match=r"owner/clip cannot be loaded \(.+\)$"):
        Pretrained(CLIPModel, "owner/clip", "cpu")


def start(hub: Hub, cache: Path) -> subprocess.Popen:
    """A command that downloads, as a process of its own."""
    code = "import time; time.sleep = lambda _: None\n"
    code += "from smcd.runtime.command import command; from smcd.runtime.hub import hub_folder\n"
    code += "with command(): hub_folder('owner/name', ['*'])"
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache), "HF_HUB_DOWNLOAD_TIMEOUT": "30"}
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | settings, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("end", "code", "last"),
    [("broken", 2, "error: owner/name: the download broke off"), ("stalled", 130, "error: interrupted")],
)
def test_a_command_ends_in_one_line_when_its_download_breaks_off_or_at_the_first_ctrl_c(hub, tmp_path, end, code, last):
    hub.breaks["b.safetensors"] = end
    process = start(hub, tmp_path / "cache")
    if end == "stalled":
        assert hub.halfway.wait(60)
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert said.splitlines()[-1].startswith(last)
    assert "Traceback" not in said
    assert not list((tmp_path / "cache").rglob("*.incomplete"))
