"""The training loop: `ms_main.py`."""

import hashlib
import json
import logging
import math
import sys
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from tqdm.contrib.logging import logging_redirect_tqdm

from smcd.config import TrainConfig
from smcd.data.clips import Batch
from smcd.runtime.errors import InputError, out_of_memory_advice
from smcd.runtime.files import new_file
from smcd.runtime.signals import StopSignals
from smcd.training import checkpoint, resume
from smcd.training.draws import Key, step_keys
from smcd.training.dry_run import plan
from smcd.training.export import export
from smcd.training.monitor import Monitor
from smcd.training.run import Run, make_accelerator, make_networks, make_run, whole
from smcd.training.settings import check_config, resolved
from smcd.training.validation import Validation

logger = logging.getLogger(__name__)

_OUT_OF_MEMORY = (
    "try --gradient_checkpointing, --mixed_precision fp16 or bf16, --use_8bit_adam, a smaller "
    "--train_batch_size with more --gradient_accumulation_steps (the same steps), fewer frames or smaller ones, or "
    "more GPUs with configs/accelerate/fsdp.yaml"
)


def train(config: TrainConfig, dry_run: bool = False) -> None:
    """Train as the config says, from the latest checkpoint in `output_dir` on, and export the finished model.

    `output_dir` gets `checkpoint-N/`, `config.yaml`, `versions.json`, `metrics.jsonl`, `validation/` and, at the end,
    `pipeline/`. After SIGTERM or Ctrl-C the step is finished, a checkpoint written, and the program ends with exit
    code 143 or 130.

    Args:
        dry_run: print what would train, the memory and the steps, and stop.

    Raises:
        InputError: a config, data or weights that do not fit; a loss that is no number; too little memory or disk.
    """
    check_config(config)
    config, accelerator = make_accelerator(resolved(config))
    try:
        with out_of_memory_advice(_OUT_OF_MEMORY):
            signal = run_from_start_to_end(config, accelerator, dry_run)
    finally:
        accelerator.free_memory()  # first: networks that outlive the process group can hang when they are freed
        accelerator.end_training()  # trackers, and the process group
    if signal:
        sys.exit(128 + signal)


def run_from_start_to_end(config: TrainConfig, accelerator: Accelerator, dry_run: bool) -> int:
    """Build, resume, train, export; returns the signal that stopped it, or 0."""
    if not dry_run:
        resume.check_settings(config, accelerator.num_processes)
    networks = make_networks(config)
    if dry_run:
        if accelerator.is_main_process:
            print(plan(config, accelerator.num_processes, *networks))
        return 0
    with StopSignals() as signals, logging_redirect_tqdm():
        run = make_run(config, accelerator, networks)
        if accelerator.is_main_process:
            checkpoint.remove_partial(run.out)
        resume.resume(run)
        stopped_by = train_steps(run, signals)
    if stopped_by:
        logger.info(f"stopped after step {run.step}; the same command goes on from there")
        return stopped_by
    finish(run)
    accelerator.wait_for_everyone()
    return 0


def train_steps(run: Run, signals: StopSignals) -> int:
    """Step after step, until `max_train_steps` (returns 0) or a signal (returns it); the last one has a checkpoint."""
    config = run.config
    monitor = Monitor(run)
    validation = Validation(run) if config.validation_steps else None
    batches = run.loader.batches(start=run.step * config.gradient_accumulation_steps)
    run.networks.train()
    if validation is not None and validation.is_missing(run):
        validation(run)
    stopped_by = 0
    while run.step < config.max_train_steps and not stopped_by:
        loss, gradient_norm, stopped_by = one_step(run, batches, signals)
        run.step += 1
        monitor.step(run, loss, gradient_norm)
        if run.step % config.checkpointing_steps == 0 or run.step == config.max_train_steps or stopped_by:
            resume.save(run)
        if validation is not None and run.step % config.validation_steps == 0 and not stopped_by:
            validation(run)
    monitor.close()
    return stopped_by


def one_step(run: Run, batches: Iterator[Batch], signals: StopSignals) -> tuple[float, float, int]:
    """One update of the weights; returns what `check_numbers` does."""
    config, accelerator = run.config, run.accelerator
    losses: list[torch.Tensor] = []
    seen: list[str] = []
    for micro_batch in range(config.gradient_accumulation_steps):
        batch = next(batches)
        example = run.encoders(batch, keys_of(run, micro_batch), run.stage.drops)
        with accelerator.accumulate(run.networks):
            loss = run.networks(example).mean()
            accelerator.backward(loss)
            losses.append(loss.detach())
            seen += batch.names
            if accelerator.sync_gradients:
                norm = accelerator.clip_grad_norm_(run.networks.parameters(), config.max_grad_norm)
                result = check_numbers(run, torch.stack(losses), norm, seen, signals)
            run.optimizer.step()
            run.optimizer.zero_grad()
    run.schedule.step()
    if run.ema is not None:
        run.ema.step(list(run.bare.trained().values()))
    return result


def keys_of(run: Run, micro_batch: int) -> list[Key]:
    """Of the random draws of this process's clips."""
    config, accelerator = run.config, run.accelerator
    position = (accelerator.process_index, accelerator.num_processes)
    return step_keys(config.seed, run.step, config.train_batch_size, micro_batch, *position)


def check_numbers(
    run: Run, losses: torch.Tensor, norm: torch.Tensor | None, seen: list[str], signals: StopSignals
) -> tuple[float, float, int]:
    """Mean loss of all clips, gradient norm, and the signal that any process received (or 0).

    The processes bring them together once a step, so that all of them stop after the same one.

    Raises:
        InputError: a loss that is no finite number. Gradients may be infinite where a scaler skips such a step (fp16).
    """
    norm = losses.new_zeros(()) if norm is None else whole(torch.as_tensor(norm)).to(losses).reshape(())
    numbers = torch.stack([losses.mean(), norm, losses.new_tensor(float(signals.received))])
    rows = run.accelerator.gather(numbers[None]).tolist()  # processes, 3
    finite = all(math.isfinite(row[0]) for row in rows)
    if finite and (run.accelerator.scaler is not None or all(math.isfinite(row[1]) for row in rows)):
        return sum(row[0] for row in rows) / len(rows), rows[0][1], int(max(row[2] for row in rows))
    process = run.accelerator.process_index
    path = run.out / f"failed-step-{run.step + 1}-process-{process}.json"
    content = {"losses": [str(loss) for loss in losses.tolist()], "clips": seen}
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    latest = checkpoint.latest_in(run.out)
    raise InputError(
        f"step {run.step + 1}: the {'gradient' if finite else 'loss'} is not finite; the clips are named in {path}, "
        f"{f'{latest} is as it was' if latest else 'there is no checkpoint yet'}. Try a lower --learning_rate or "
        f"--mixed_precision bf16, in another --output_dir{f' with --tune_from_ckpt_path {latest}' if latest else ''}"
    )


def finish(run: Run) -> None:
    """Write the finished model as `pipeline/`, from its checkpoint; an older one is replaced."""
    out, source = run.out / "pipeline", checkpoint.latest_in(run.out)
    if not run.accelerator.is_main_process or source is None:
        return
    marker = out / "training.json"
    trained = source / (checkpoint.TRAINED if run.ema is None else checkpoint.EMA)
    with trained.open("rb") as file:
        made_from = {"checkpoint": source.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    if marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == made_from:
        return
    new = out.with_name(".checkpoint-new-pipeline.partial")
    export(source, new)
    (new / marker.name).write_text(json.dumps(made_from), encoding="utf-8")
    if out.exists():
        checkpoint.discard(out)
    new.rename(out)
    logger.info(f"wrote {out}")
