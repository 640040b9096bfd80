"""`inference_eval.py`: check the options, plan, sample, write, score."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from accelerate import PartialState
from torch import nn

from smcd.config import EvaluationConfig, check, flat, read_config
from smcd.evaluation.generate.clip_folders import ClipFolders
from smcd.evaluation.generate.dataset_clips import EvaluationClips
from smcd.evaluation.generate.sampling import Group, missing_groups, sample_groups
from smcd.evaluation.metrics.evaluate import evaluate
from smcd.evaluation.metrics.manifest import CONFIG_NAME, MANIFEST_NAME, REPORT_NAME
from smcd.evaluation.metrics.report import summary_text, write_report
from smcd.evaluation.metrics.scoring import Options, check_scoring
from smcd.runtime.errors import InputError
from smcd.runtime.hashes import weights_hash
from smcd.runtime.processes import in_main
from smcd.sampler import Sampler, on_device, with_defaults
from smcd.text import cut_texts_counted

logger = logging.getLogger(__name__)
_FREE = {  # may change from run to run: the manifest tells of the data, and the rest does not touch the videos
    *("dataset", "eval_data", "max_clips", "output_dir", "num_workers", "seed", "seeds", "weights_sha256"),
    *("report", "tracker", "sam2", "clip", "dino", "fvd_weights", "train_grounding", "cross_vision", "cat_init"),
    "preset",
}
_TOLD = (  # what the report says about how the videos were made
    *("weights_sha256", "seeds", "scheduler", "num_inference_steps", "guidance_scale", "img_free_guidance"),
    *("ti_free_guidance", "box_free_guidance", "negative_prompt", "mixed_precision", "dtype", "batch_size"),
)


class Plan(NamedTuple):
    """What is there, and what is to be done."""

    folders: ClipFolders
    groups: list[Group]
    weights_sha256: str | None  # the hash of the weights of an earlier run in the folder, if there was one


def run_evaluation(config: EvaluationConfig) -> None:
    """Make the videos that `config` asks for, in `output_dir`, and score them; go on where an earlier run stopped.

    With several processes the videos are shared between them; the first one scores them at the end. Raises an
    InputError if something does not fit: options, data, weights, or what lies in `output_dir`.
    """
    config = complete(config)
    root = Path(config.output_dir).expanduser()
    data = cache(lambda: clips_of(config))  # read once, and only by processes that need it
    with on_device() as state, cut_texts_counted():
        options = Options(config.tracker, config.sam2, config.clip, config.dino, config.fvd_weights, str(state.device))
        plan = in_main(state, lambda: _make_plan(config, root, data(), options))
        if plan.groups:
            _sample_share(config, plan, data, state)
            state.wait_for_everyone()
        is_main = state.is_main_process
    if is_main and config.report:
        _write_scores(root, options)


def complete(config: EvaluationConfig) -> EvaluationConfig:
    """The config with its dataset and seeds spelled out. Raises an InputError if options contradict each other."""
    check(config)
    config = with_defaults(config)
    data = config.eval_data
    if config.validation_data.video_length < 2:
        raise InputError("video_length is 1; an evaluation needs videos of at least 2 frames")
    seeds = config.seeds or [config.seed]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds are {_listed(seeds)}; give different ones")
    if config.dataset is None and len(data.datasets) > 1:
        raise InputError(f"eval_data.datasets names {', '.join(data.datasets)}; choose one with --dataset")
    config = replace(config, dataset=config.dataset or (data.datasets or ["sprites"])[0], seeds=seeds)
    check(config)  # also the dataset that `eval_data` names, and the model's own size
    return config


def clips_of(config: EvaluationConfig) -> EvaluationClips:
    """The clips that a completed config asks for."""
    length, size = config.validation_data.video_length, config.validation_data.size
    return EvaluationClips(str(config.dataset), config.eval_data, length, size, config.resize, config.max_clips)


def _make_plan(config: EvaluationConfig, root: Path, data: EvaluationClips, options: Options) -> Plan:
    """Read the data, look at the output folder, and list what is missing. Writes nothing."""
    manifest = data.manifest(config.num_workers)
    clips = manifest.clips
    if config.report:
        check_scoring(options, clips)
    settings = root / CONFIG_NAME
    earlier = read_config(EvaluationConfig, settings) if settings.is_file() else None
    if earlier is not None:
        _check_same(settings, earlier, config)
    folders = ClipFolders(root, manifest, config.seeds, [] if earlier is None else earlier.seeds)
    groups = missing_groups(clips, config.seeds, config.batch_size, folders)
    total, left = len(clips) * len(config.seeds), sum(len(group.missing) for group in groups)
    done = f", of which {total - left} are there already" if left < total else ""
    logger.info(f"{manifest.dataset}: {len(clips)} clips, {total} videos{done}")
    return Plan(folders, groups, None if earlier is None else earlier.weights_sha256)


def _check_same(path: Path, earlier: EvaluationConfig, config: EvaluationConfig) -> None:
    """Raise an InputError if videos of this config would not belong with those of the earlier one, read from `path`.

    Seeds may only be added.
    """
    was, now = flat(asdict(earlier)), flat(asdict(config))
    changed = [
        f"{name} is {now[name]} and was {was[name]}"
        for name in now
        if was[name] != now[name] and name.partition(".")[0] not in _FREE
    ]
    if lost := [seed for seed in earlier.seeds if seed not in config.seeds]:
        changed.append(f"seeds are {_listed(config.seeds)} and lack {_listed(lost)}")
    if changed:
        raise InputError(f"{path}: an earlier run had other settings: {'; '.join(changed)}: choose another output_dir")


def _listed(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))


def _sample_share(
    config: EvaluationConfig, plan: Plan, data: Callable[[], EvaluationClips], state: PartialState
) -> None:
    """Sample and write this process's share of the groups."""
    mine = plan.groups[state.process_index :: state.num_processes]
    sampler = Sampler(config, state.device) if mine else None
    if sampler is not None:
        sampler.check_paths("an image", "boxes")
        if state.is_main_process:
            sampler.warn_if_unusual(data().objects)

    def begin() -> None:
        if sampler is not None:  # the main process always has a share
            sha256, settings = _hash_of(sampler), plan.folders.root / CONFIG_NAME
            for where, known in (("weights_sha256", config.weights_sha256), (settings, plan.weights_sha256)):
                if known not in (None, sha256):
                    wrong = f"the weights should have the SHA-256 {str(known)[:16]}..., but have {sha256[:16]}..."
                    raise InputError(f"{where}: {wrong}: choose another output_dir, or the weights that were meant")
            plan.folders.begin(asdict(config) | {"weights_sha256": sha256})

    in_main(state, begin)
    if sampler is not None:  # otherwise there are more processes than groups
        bar = state.is_main_process
        sample_groups(mine, sampler, data(), plan.folders, config.fps, config.num_workers, bar)


def _hash_of(sampler: Sampler) -> str:
    """SHA-256 of all weights, as they are loaded."""
    parts = {name: part for name, part in sampler.pipe.components.items() if isinstance(part, nn.Module)}
    hashes = "".join(f"{name} {weights_hash(part.state_dict())}\n" for name, part in sorted(parts.items()))
    return hashlib.sha256(hashes.encode()).hexdigest()


def _write_scores(root: Path, options: Options) -> None:
    """Score the videos below `root`, write `root/report` in place of an earlier one, and print the summary."""
    made = asdict(read_config(EvaluationConfig, root / CONFIG_NAME))
    known, target = made | made["validation_data"], root / REPORT_NAME
    generator = {"weights": made["trained_ckpt_path"]} | {name: known[name] for name in _TOLD}
    evaluation = evaluate(root, root / MANIFEST_NAME, options, generator=generator)
    write_report(target, evaluation, replace=True)
    print(summary_text(evaluation))
    print(f"the report: {target / 'index.html'}")
