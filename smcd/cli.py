"""The command `smcd`: its sub-commands, with the options they take and the function that each runs."""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from smcd import config
from smcd.config import configured, did_you_mean
from smcd.runtime.command import command
from smcd.runtime.errors import InputError


class Command:
    """A sub-command; `run` is module:function, and is imported (with torch) once the options are right."""

    def __init__(self, schema: type[Any], run: str, help: str, *examples: str):
        self.schema, self.run, self.help, self.examples = schema, run, help, examples


COMMANDS = {
    "animate": Command(
        config.CustomizeConfig,
        "smcd.customize.animate:customize",
        "Animate your own image: an image, boxes and a prompt become a video.",
        'animate --input_data_path examples/bouncing --object "red circle" --prompt "A circle that is bouncing."',
        'animate --input_data_path FOLDER --prompt "A dog runs." --num_videos 4 --seed 1 --preset fast',
        'animate --input_data_path FOLDER --prompt "A dog runs." --trained_ckpt_path WEIGHTS --low_memory',
    ),
    "edit": Command(
        config.EditConfig,
        "smcd.editor.server:edit",
        "Draw boxes on an image in your browser, and animate it.",
        "edit outputs/mine",
        "edit FOLDER --trained_ckpt_path WEIGHTS --preset fast",
        "edit FOLDER --host 0.0.0.0 --no_browser",
    ),
    "track": Command(
        config.TrackConfig,
        "smcd.editor.track:track",
        "Take boxes from a video: follow an object, and write its path as key frames.",
        'track dance.mp4 --box 120,40,300,400 --object "dancer" --out FOLDER',
        'track drive.mp4 --find "red car" --out FOLDER --video_length 16 --tolerance 3',
        'track VIDEOS --find "dog,ball" --annotate --sam2 facebook/sam2.1-hiera-tiny',
    ),
    "train": Command(
        config.TrainConfig,
        "smcd.training.loop:train",
        "Train stage 1 (boxes, on images), stage 2 (image paths, on videos), or a text-to-video base.",
        "train --config configs/object_tracking_ms_stage1.yaml --stage 1 --output_dir outputs/stage1",
        "train --config configs/object_tracking_ms_stage2.yaml --stage 2 --tune_from_ckpt_path outputs/stage1",
        "train --config configs/object_tracking_ms_stage2.yaml --stage 2 --train_data.width 128 --dry_run",
    ),
    "evaluate": Command(
        config.EvaluationConfig,
        "smcd.evaluation.generate:run_evaluation",
        "Make a video of every clip of a dataset from its first frame, boxes and prompt, and score them.",
        "evaluate --dataset sprites --max_clips 4",
        "evaluate --dataset got10k --eval_data.path DATA --trained_ckpt_path WEIGHTS --output_dir outputs/got10k",
        "evaluate --config configs/object_tracking_eval.yaml --seeds 33 34 35 --no_report",
    ),
    "score": Command(
        config.ScoreConfig,
        "smcd.evaluation.commands:score",
        "Score any method's videos against the truth (see docs/evaluation.md).",
        "score --pred outputs/mymethod --truth data/truth --out reports/mymethod",
        "score --pred outputs/mymethod --truth data/truth --out reports/mine --name Mine --allow_partial",
        "score --pred outputs/mymethod --truth data/truth --out reports/quick --clip none --dino none",
    ),
    "compare": Command(
        config.CompareConfig,
        "smcd.evaluation.commands:compare_reports",
        "Put several reports into one table.",
        "compare reports/mymethod reports/other --out reports/both",
        "compare reports/* --out comparison",
        "compare reports/mymethod reports/other --out reports/both --allow_partial",
    ),
    "convert": Command(
        config.ConvertConfig,
        "smcd.convert.folders:convert_weights",
        "Convert published weights and their base to a pipeline folder, or back.",
        "convert Lixiaoming/Animate-Your-Motion weights/smcd",
        "convert PUBLISHED_FOLDER weights/smcd --base BASE --dtype float16",
        "convert weights/smcd PUBLISHED_FOLDER --to_published",
    ),
    "prepare": Command(
        config.PrepareConfig,
        "smcd.training.prepare:prepare_dataset",
        "Prepare a dataset: phrase embeddings, held-out videos, missing captions and cached latents.",
        "prepare got10k --data DATA --model weights/smcd",
        "prepare youvis --data DATA --model weights/smcd --latents CACHE",
        "prepare videos --data FOLDER --model weights/smcd --dry_run",
    ),
    "show": Command(
        config.ShowConfig,
        "smcd.data.commands:show",
        "Draw what training sees: frames, boxes with phrases, captions.",
        "show --datasets sprites --width 128 --height 128 --out outputs/data.png",
        "show --config configs/object_tracking_ms_stage2.yaml",
        "show --name videos --path FOLDER --clips 4 --out outputs/mine.png",
    ),
    "export": Command(
        config.ExportConfig,
        "smcd.training.export:export_checkpoint",
        "Make a pipeline folder, or published files, of a training checkpoint.",
        "export outputs/stage2 weights/mine",
        "export outputs/stage2/checkpoint-1000 weights/half --dtype float16 --no_ema",
        "export outputs/stage2 published --published tune_from_ckpt_path=outputs/stage1",
    ),
    "make-sprites": Command(
        config.MakeSpritesConfig,
        "smcd.data.commands:make_sprites",
        "Write the sprites world in the layout of a real dataset, as a stand-in for it.",
        "make-sprites --out data/sprites --layout got10k",
        "make-sprites --out data/sprites --layout youvis --clips 20 --size 128 built-in",
        "make-sprites --out data/sprites --layout gligen --seed 1 speed=0.4 objects=[1,2]",
    ),
}


def main() -> None:
    """Run the sub-command that the process's arguments name."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        run(name, arguments, f"smcd {name}")
        return
    with command():
        if name not in ("-h", "--help"):
            raise InputError(f"unknown command {name}{did_you_mean(name, COMMANDS) or '; see smcd --help'}")
        print("usage: smcd COMMAND [OPTIONS]\n\nAnimate a still image with boxes and a prompt.\n")
        print("\n".join(f"  {name:<14}{each.help}" for name, each in COMMANDS.items()))
        print("\nThe options of a command: smcd COMMAND --help")


def run(name: str, arguments: Sequence[str], prog: str) -> None:
    """Run a sub-command with these arguments; `prog` is what its --help calls it."""
    chosen = COMMANDS[name]
    examples = "\n".join(f"  smcd {example}" for example in chosen.examples)
    with configured(chosen.schema, f"{chosen.help}\n\nExamples:\n{examples}", prog, arguments) as options:
        module, _, function = chosen.run.partition(":")
        getattr(importlib.import_module(module), function)(options)


if __name__ == "__main__":
    main()
