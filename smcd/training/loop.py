"""The training loop: `ms_main.py`."""

import logging
import math
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from diffusers.utils import is_bitsandbytes_available
from tqdm.contrib.logging import logging_redirect_tqdm

from smcd.config import LoopOptions, OptimizerOptions, TrainConfig, check
from smcd.data.build import build_data
from smcd.data.clips import Batch
from smcd.runtime.built_in import BUILT_IN, TINY
from smcd.runtime.errors import InputError, out_of_memory_advice
from smcd.runtime.files import locked, write_json
from smcd.runtime.precision import usable_precision
from smcd.runtime.processes import in_main
from smcd.runtime.signals import StopSignals
from smcd.text import cut_texts_counted
from smcd.training import checkpoint, resume
from smcd.training.batch import step_keys
from smcd.training.distributed import make_accelerator, whole
from smcd.training.dry_run import dry_run
from smcd.training.export import export_finished
from smcd.training.monitor import Monitor
from smcd.training.run import Run, clips_and_rate, encoder_hashes, make_run
from smcd.training.stages import stage_of
from smcd.training.trackers import make_trackers, start_trackers
from smcd.training.trained_networks import make_model
from smcd.training.validation import Validation

logger = logging.getLogger(__name__)

_PATHS = ("pretrained_model_path", "root_path", "tokenizer", "pretrained_weight_path", "tune_from_ckpt_path")
_OUT_OF_MEMORY = (
    "try --gradient_checkpointing, --mixed_precision fp16 or bf16, --use_8bit_adam, a smaller "
    "--train_batch_size with more --gradient_accumulation_steps (the same steps), fewer frames or smaller ones, or "
    "more GPUs with configs/accelerate/fsdp.yaml"
)


def train(config: TrainConfig) -> None:
    """Train as the config says, from the latest checkpoint in `output_dir` on, and export the finished model.

    With `config.dry_run` print what would train, the memory and the steps, and stop.

    `output_dir` gets `checkpoint-N/`, `config.yaml`, `versions.json`, `metrics.jsonl`, `validation/` and, at the end,
    `pipeline/`. After SIGTERM or Ctrl-C the step is finished, a checkpoint written, and the program ends with exit
    code 143 or 130.

    Raises:
        InputError: a config, data or weights that do not fit; a loss that is not a number; too little memory or disk.
    """
    check(config)
    config = resolved(config)
    out, batches = config.output_dir, (config.gradient_accumulation_steps, config.train_batch_size)
    precision = "no" if config.dry_run else config.mixed_precision  # a dry run computes nothing and tracks nothing
    names = [] if config.dry_run else [*config.report_to, *(["wandb"] if config.use_wandb else [])]
    trackers = make_trackers(names, Path(out))
    accelerator = make_accelerator(out, precision, *batches, config.max_grad_norm, trackers)
    if not accelerator.is_main_process:  # which tells what all of them would
        logging.getLogger("smcd").setLevel(logging.WARNING)
    stopped_by = 0
    try:
        with out_of_memory_advice(_OUT_OF_MEMORY), ExitStack() as stack:
            if not config.dry_run:
                in_main(PartialState(), lambda: stack.enter_context(locked(Path(out))))
                stopped_by = run_from_start_to_end(config, accelerator)
            elif accelerator.is_main_process:
                print(plan(config, accelerator.num_processes))
    finally:
        accelerator.free_memory()  # first: networks that outlive the process group can hang when they are freed
        accelerator.end_training()  # trackers, and the process group
    if stopped_by:
        sys.exit(128 + stopped_by)


def resolved(config: TrainConfig) -> TrainConfig:
    """The config as this machine takes it: folders as absolute paths, so that a checkpoint finds them from anywhere,
    and nothing that needs a GPU where there is none."""
    device, eval_data = "gpu" if torch.accelerator.is_available() else "cpu", config.eval_data
    changes: dict[str, Any] = {}
    if not config.dry_run:  # which counts the memory of another machine
        changes["mixed_precision"] = usable_precision(config.mixed_precision, device)
        if config.use_8bit_adam and not (is_bitsandbytes_available() and torch.cuda.is_available()):
            logger.warning("8-bit AdamW needs a GPU and bitsandbytes (pip install bitsandbytes): using AdamW")
            changes["use_8bit_adam"] = False
    if config.validation_steps and not eval_data.made and not (eval_data.path or eval_data.data_path):
        logger.warning("eval_data names no data: nothing will be validated; set eval_data.path, or use sprites there")
        changes["validation_steps"] = 0
    for name in _PATHS:
        value = getattr(config, name)
        if value is not None and value not in (*BUILT_IN, TINY) and Path(value).expanduser().exists():
            changes[name] = _absolute(value)
    if "tune_from_ckpt_path" in changes:
        latest = checkpoint.latest_in(Path(changes["tune_from_ckpt_path"]))
        if latest is not None:  # this one, also when that run has gone on
            changes["tune_from_ckpt_path"] = str(latest)
            logger.info(f"starting from {latest}")
    for section in ("train_data", "eval_data"):
        data = getattr(config, section)
        folders = {name: value for name in ("path", "data_path", "latents") if (value := getattr(data, name))}
        changes[section] = replace(data, **{name: _absolute(value) for name, value in folders.items()})
    return replace(config, **changes)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def plan(config: TrainConfig, processes: int) -> str:
    """What a dry run prints."""
    model = make_model(config, validation=config)
    hashes = encoder_hashes(model.pipe, config.train_data, config.eval_data)
    mixture, _ = build_data(config.train_data, config.seed, hashes)
    if config.validation_steps:
        build_data(config.eval_data, config.seed, hashes)
    return dry_run(config, model, mixture, processes, config.output_dir)


def run_from_start_to_end(config: TrainConfig, accelerator: Accelerator) -> int:
    """Build, resume, train, export; returns the signal that stopped it, or 0."""
    out, options = Path(config.output_dir), asdict(config)
    settings = resume.settings_of(options, stage_of(config), *clips_and_rate(config, accelerator.num_processes))
    resume.check_settings(out, config.resume_from_checkpoint, settings)
    model = make_model(config, validation=config)
    hashes = encoder_hashes(model.pipe, config.train_data, config.eval_data)  # before the encoders are cast
    with StopSignals() as signals, logging_redirect_tqdm(), cut_texts_counted():
        run = make_run(config, accelerator, model, hashes, out, options, settings)
        validation = Validation(run, config) if config.validation_steps else None
        resume.resume(run, config.resume_from_checkpoint)
        if accelerator.is_main_process:
            checkpoint.remove_partial(out)
            checkpoint.write_options(out / "config.yaml", run.options)
            versions = checkpoint.versions() | {"processes": accelerator.num_processes}
            write_json(out / "versions.json", versions, indent=1)
        start_trackers(accelerator, run.options, out, run.step)
        stopped_by = train_steps(config, run, validation, signals)
    if run.loader.lost_worker:
        raise InputError(
            f"a process that reads data was killed, perhaps because memory ran out: training stopped after step "
            f"{run.step}, and the same command goes on from there; try a lower --num_workers"
        )
    if stopped_by:
        logger.info(f"stopped after step {run.step}; the same command goes on from there")
        return stopped_by
    if accelerator.is_main_process:
        export_finished(out, ema=run.ema is not None)
    accelerator.wait_for_everyone()
    return 0


def train_steps(options: LoopOptions, run: Run, validation: Validation | None, signals: StopSignals) -> int:
    """Step after step, until all are done (returns 0) or a signal comes (returns it); the last one has a checkpoint."""
    steps, monitor = options.max_train_steps, Monitor(run, options.max_train_steps, options.logging_steps)
    batches = run.loader.batches(start=run.step * options.gradient_accumulation_steps)
    run.networks.train()
    stopped_by = 0
    # A validation that is due where the run goes on was left out by a stop.
    if validation is not None and run.step and validation.is_due(run) and validation.is_missing(run):
        validation(run)
    while run.step < steps and not stopped_by:
        loss, gradient_norm, stopped_by = one_step(options, run, batches, signals)
        run.step += 1
        monitor.step(run, loss, gradient_norm)
        if run.step % options.checkpointing_steps == 0 or run.step == steps or stopped_by:
            resume.save(run, options.checkpoints_total_limit)
        monitor.show()
        if validation is not None and validation.is_due(run) and not stopped_by:
            validation(run)
    monitor.close()
    return stopped_by


def one_step(
    options: OptimizerOptions, run: Run, batches: Iterator[Batch], signals: StopSignals
) -> tuple[float, float, int]:
    """One update of the weights; returns what `check_numbers` does."""
    accelerator = run.accelerator
    position = (accelerator.process_index, accelerator.num_processes)
    losses: list[torch.Tensor] = []
    seen: list[str] = []
    for micro_batch in range(options.gradient_accumulation_steps):
        batch = next(batches)
        if run.loader.lost_worker:  # all processes stop after this step
            signals.received = signals.received or signal.SIGTERM
        keys = step_keys(run.seed, run.step, options.train_batch_size, micro_batch, *position)
        example = run.encoders(batch, keys, run.model.stage.drops)
        with accelerator.accumulate(run.networks):
            loss = run.networks(example).mean()
            accelerator.backward(loss)
            losses.append(loss.detach())
            seen += batch.names
            if accelerator.sync_gradients:
                norm = accelerator.clip_grad_norm_(run.networks.parameters(), options.max_grad_norm)
                result = check_numbers(run, torch.stack(losses), norm, seen, signals)
            run.optimizer.step()
            run.optimizer.zero_grad()
    run.schedule.step()
    if run.ema is not None:
        run.ema.step(list(run.trained().values()))
    return result


def check_numbers(
    run: Run, losses: torch.Tensor, norm: torch.Tensor | None, seen: list[str], signals: StopSignals
) -> tuple[float, float, int]:
    """Mean loss of all clips, gradient norm, and the signal that any process received (or 0).

    The processes bring them together once a step, so that all of them stop after the same one.

    Raises:
        InputError: a loss that is not finite. Gradients may be infinite where a scaler skips such a step (fp16).
    """
    norm = losses.new_zeros(()) if norm is None else whole(torch.as_tensor(norm)).to(losses).reshape(())
    numbers = torch.stack([losses.mean(), norm, losses.new_tensor(float(signals.received))])
    rows = run.accelerator.gather(numbers[None]).tolist()  # processes, 3
    finite = all(math.isfinite(row[0]) for row in rows)
    if finite and (run.accelerator.scaler is not None or all(math.isfinite(row[1]) for row in rows)):
        return sum(row[0] for row in rows) / len(rows), rows[0][1], int(max(row[2] for row in rows))
    step, latest = run.step + 1, checkpoint.latest_in(run.out)
    path = run.out / f"failed-step-{step}-process-{run.accelerator.process_index}.json"
    write_json(path, {"losses": [str(loss) for loss in losses.tolist()], "clips": seen}, indent=1)
    raise InputError(
        f"step {step}: the {'gradient' if finite else 'loss'} is not finite; the clips are named in {path}, "
        f"{f'{latest} is as it was' if latest else 'there is no checkpoint yet'}. Try a lower --learning_rate or "
        f"--mixed_precision bf16, in another --output_dir{f' with --tune_from_ckpt_path {latest}' if latest else ''}"
    )
