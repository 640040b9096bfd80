"""A small world of sprites with its truth, predictions and models, scored once for all tests of evaluations."""

import pytest

from smcd.evaluation.metrics.evaluate import Evaluation, evaluate
from smcd.evaluation.metrics.report import write_report
from smcd.evaluation.metrics.scoring import Options
from tests.evaluation.metrics.layout import noisy, sprite_clips, write_predictions, write_truth
from tests.evaluation.metrics.tiny import write_clip, write_dino, write_i3d


@pytest.fixture(scope="session")
def clips():
    return sprite_clips(5, size=48)


@pytest.fixture(scope="session")
def folder(tmp_path_factory, clips):
    """The truth; "near", two seeds of slightly noisy copies; "still", its first frames repeated; models."""
    root = tmp_path_factory.mktemp("world")
    write_truth(root / "truth", clips)
    for seed in (33, 34):
        videos = {name: noisy(clip.frames, 8, seed) for name, clip in clips.items()}
        write_predictions(root / "near" / f"seed_{seed}", videos)
    write_predictions(root / "still", {name: clip.frames[:1].repeat(8, axis=0) for name, clip in clips.items()})
    write_clip(root / "clip")
    write_dino(root / "dino")
    write_i3d(root / "i3d.pt")
    return root


@pytest.fixture(scope="session")
def options(folder) -> Options:
    return Options(clip=str(folder / "clip"), dino=str(folder / "dino"), fvd_weights=folder / "i3d.pt")


@pytest.fixture(scope="session")
def near(folder, options) -> Evaluation:
    return evaluate(folder / "near", folder / "truth", options)


@pytest.fixture(scope="session")
def still(folder, options) -> Evaluation:
    return evaluate(folder / "still", folder / "truth", options)


@pytest.fixture(scope="session")
def reports(near, still, folder):
    write_report(folder / "reports" / "near", near)
    write_report(folder / "reports" / "still", still)
    return [folder / "reports" / "near", folder / "reports" / "still"]
