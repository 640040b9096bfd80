"""scripts/gpu_check.py: parts that end in every way, and what each part measures, on the tiny size."""

import json
import os
import signal
import time

import gpu_check
import pytest
from gpu_check import PARTS, Options, Part, Setting, page, read, run, write

from smcd.config import configured
from smcd.runtime.errors import InputError


def works(setting):
    yield "Numbers", {"device": setting.device, "number": 0.12345}


def crashes(setting):
    yield "Numbers", {"number": 1}
    os.kill(os.getpid(), signal.SIGKILL)


def fails(setting):
    yield "Numbers", {"number": 2}
    raise ValueError("no such number\nin any line")


def hangs(setting):
    time.sleep(1000)
    yield


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Options:
    monkeypatch.setattr(gpu_check, "LEAST", 0)
    return Options(out=str(tmp_path / "out"), parts=[], device="cpu", size="tiny")


def test_parts_are_chosen_by_name():
    with configured(Options, "", "gpu_check", ["--parts", "steps,clips"]) as options:
        assert options.parts == ["steps", "clips"]


def test_a_part_that_crashes_or_fails_costs_only_itself(settings, monkeypatch, tmp_path):
    kinds = {"crashes": crashes, "fails": fails, "works": works}
    monkeypatch.setattr(gpu_check, "PARTS", {name: Part(kind, 1, 1, alone=False) for name, kind in kinds.items()})
    settings.parts, settings.page = list(kinds), str(tmp_path / "gpu.md")
    (tmp_path / "gpu.md").write_text("# Kept\n\n## Parts\n\nold\n")
    text = run(settings)
    assert (tmp_path / "gpu.md").read_text() == f"# Kept\n\n{text}"
    assert {name: result.end for name, result in read(tmp_path / "out").items()} == {
        "crashes": "ended with exit code -9",
        "fails": "failed: no such number",
        "works": "done",
    }
    assert "| number | device |\n| --- | --- |\n| 1 |  |\n| 2 |  |\n| 0.123 | cpu |\n" in text
    assert "ValueError: no such number" in (tmp_path / "out" / "log.txt").read_text()


def test_a_part_that_hangs_is_stopped(settings, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_check, "PARTS", {"hangs": Part(hangs, 1, 1)})
    settings.parts, settings.minutes = ["hangs"], 1 / 60
    assert "| stopped after 1 s |" in run(settings)


def test_what_is_done_is_kept(settings, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu_check, "PARTS", {"works": Part(works, 1, 1), "fails": Part(fails, 1, 1)})
    settings.parts = ["works", "fails"]
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "works", versions={"device": "another"})
    write(tmp_path / "out", "works", end="done", seconds=1.0)
    monkeypatch.setattr(gpu_check, "LEAST", 1e9)
    assert "| another |" in run(settings)
    assert capsys.readouterr().out == "no time is left for fails: give the command again\n"


def test_what_a_stop_cut_off_is_left_out(tmp_path):
    write(tmp_path, "steps", versions={"device": "a card"})
    write(tmp_path, "steps", table="Steps", row={"seconds": 1.0})
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('\n{"part": "steps", "table": "Ste')
    write(tmp_path, "steps", table="Steps", row={"seconds": 2.0})
    result = read(tmp_path)["steps"]
    assert result.tables == {"Steps": [{"seconds": 1.0}, {"seconds": 2.0}]}
    assert result.end is None
    assert "| did not end |" in page({"steps": result})


def test_the_page_names_all_parts_and_another_run_of_a_part_counts(settings, tmp_path):
    settings.page_only = True
    text = run(settings)
    assert text.count("| not run |") == len(PARTS)
    for number in (1, 2):
        write(tmp_path / "out", "clips", versions={"device": "a card"})
        write(tmp_path / "out", "clips", table="Clips", row={"number": number})
    write(tmp_path / "out", "clips", end="done", seconds=5.0)
    text = run(settings)
    assert "## Clips\n\n| number |\n| --- |\n| 2 |\n" in text
    assert text.count("| not run |") == len(PARTS) - 1


def test_a_gpu_that_is_not_there_is_one_line(settings, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings.device = "cuda"
    with pytest.raises(InputError, match="--device cpu --size tiny"):
        run(settings)


def rows(name: str, tmp_path) -> list[dict]:
    return [row for _, row in PARTS[name].run(Setting("cpu", "tiny", tmp_path / name, 1000))]


@pytest.mark.slow
def test_results_are_equal(tmp_path):
    found = rows("results", tmp_path)
    assert [row.get("golden") for row in found[:6]] == [
        "base",
        "stage1",
        "boxes_only",
        "zero_conv",
        "gated_cross_attention",
        "smcd",
    ]
    assert {row["result"] for row in found[:7]} == {"equal"}
    assert found[6]["tensors"] == found[6]["bitwise equal"] > 600
    assert {row["name"]: row["error of one call"] < 0.1 for row in found[7:]} == {"bfloat16": True, "float16": True}


@pytest.mark.slow
def test_features_run_or_say_why_not(tmp_path):
    found = {row["feature"]: row["result"] for row in rows("features", tmp_path)}
    assert found["model offload"] == "skipped: needs a GPU"
    kinds = {result.partition(":")[0] for result in found.values()}
    assert kinds == {"as plain", "runs", "skipped"}


@pytest.mark.parametrize("part", [pytest.param("steps", marks=pytest.mark.slow), "clips"])
def test_times_beside_diffusers(tmp_path, part):
    found = [row for row in rows(part, tmp_path) if "network" in row]
    assert [(row["network"], row["batch"]) for row in found] == [
        (name, batch) for batch in (1, 2) for name in ("diffusers' base", "smcd")
    ]
    for row in found:
        assert row["fastest"] <= row["seconds"] <= row["slowest"]
        assert 0 < row["share of ceiling"] < 1
        assert row["peak GiB"] > 0
    assert found[3]["TFLOP"] == pytest.approx(2 * found[1]["TFLOP"], rel=0.01)


def test_the_operations_of_a_clip_are_those_of_all_its_steps():
    setting = Setting("cpu", "tiny", None, 0)
    options = setting.options("clip", vs="base", steps=4)
    [base, ours] = gpu_check.benchmark.clips(options).values()
    for work in (base, ours):
        flops = [
            gpu_check.benchmark.flops_of(lambda steps=n, work=work: work(num_inference_steps=steps), fake=False)
            for n in (1, 2, 4)
        ]
        assert flops[0] + 3 * (flops[1] - flops[0]) == flops[2]


def test_training_and_its_foretold_memory(tmp_path):
    found = rows("training", tmp_path)
    assert [(row["stage"], row["gradient_checkpointing"]) for row in found] == [
        (stage, checkpointing) for stage in "12" for checkpointing in (False, True)
    ]
    for row in found:
        assert row["steps a second"] > 0
        assert row["foretold GiB"] > 0


@pytest.mark.slow
def test_all_parts_on_a_cpu(settings, tmp_path):
    settings.parts, settings.minutes = list(PARTS), 60
    text = run(settings)
    found = read(tmp_path / "out")
    assert {name: result.end for name, result in found.items()} == dict.fromkeys(PARTS, "done")
    assert "DIFFERS" not in text
    assert json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[0])["versions"]["size"] == "tiny"
