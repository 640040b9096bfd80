"""A run's state: taken for a checkpoint, compared with one, and put back."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, gather_object
from torch import Tensor
from torch.distributed.checkpoint import state_dict as sharded

from smcd.config import flat
from smcd.runtime.errors import InputError
from smcd.runtime.processes import in_main
from smcd.sprites.layouts import make_world
from smcd.training import checkpoint
from smcd.training.run import Run
from smcd.training.stages import Stage

logger = logging.getLogger(__name__)

_WHOLE = sharded.StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
# Options that do not change what is learned; with their sections.
_FREE = {
    *("output_dir", "num_workers", "gradient_checkpointing", "enable_xformers_memory_efficient_attention"),
    *("checkpointing_steps", "checkpoints_total_limit", "resume_from_checkpoint", "logging_steps"),
    *("validation_steps", "validation_clips", "validation_videos", "val_batch_size", "validation_data", "eval_data"),
    *("report_to", "use_wandb", "tracker"),
    # Where the data lie, cached or not, and what is done with broken ones.
    *(f"train_data.{name}" for name in ("path", "data_path", "latents", "phrase_embeddings", "on_error")),
    # These only in what they come to: see `settings_of`.
    *("train_batch_size", "gradient_accumulation_steps", "learning_rate", "scale_lr", "max_train_steps"),
    *("stage", "train_grounding", "cross_vision", "cat_init", "use_image_dataset"),
}


def settings_of(options: dict[str, Any], stage: Stage, clips: int, learning_rate: float) -> dict[str, Any]:
    """What the result depends on, by option.

    It does not depend on how a step's clips are divided among processes and micro-batches: only on how many they are.
    """
    settings = {name: value for name, value in flat(options).items() if not {name, name.partition(".")[0]} & _FREE}
    settings |= {"stage": stage.name, **stage.paths, "learning_rate": learning_rate, "clips of a step": clips}
    world = make_world(settings.pop("train_data.sprites_world").split())  # by what it is, not by its name
    if "sprites" in options["train_data"]["datasets"]:
        settings |= flat(world.description(), "train_data.sprites_world.")
    if options["lr_scheduler"] not in ("constant", "constant_with_warmup"):
        settings["max_train_steps"] = options["max_train_steps"]
    return settings


def check_same(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise an InputError that lists the settings in which a checkpoint differs from this run."""
    sets = "train_data.dataset_names."  # these come and go; an option that is only on one side is of another version
    names = (then.keys() & now.keys()) | {name for name in then.keys() ^ now.keys() if name.startswith(sets)}
    values = {name: (then.get(name), now.get(name)) for name in sorted(names)}
    different = [f"{name} {old!r} there, {new!r} here" for name, (old, new) in values.items() if old != new]
    if different:
        raise InputError(
            f"{path}: is from a run with other settings: {'; '.join(different)}. Use the same ones, another "
            "--output_dir, or start from its weights with --tune_from_ckpt_path"
        )


def check_settings(out: Path, which: str, settings: dict[str, Any]) -> None:
    """Raise an InputError, before anything is loaded, if the checkpoint to go on from has other settings."""
    path = find(out, which)
    if path is not None:
        check_same(path, checkpoint.read_info(path)["settings"], settings)


def save(run: Run, limit: int) -> None:
    """Write a checkpoint of this step, and keep the latest `limit` (0: all); every process calls it.

    Raises:
        InputError: it cannot be written; those before are as they were.
    """
    content, shards = _take(run), _save_shards(run)
    path = in_main(PartialState(), lambda: checkpoint.write(run.out, content, shards))
    if run.accelerator.is_main_process:
        for outdated in checkpoint.all_in(run.out)[:-limit] if limit else []:
            checkpoint.discard(outdated)
        logger.info(f"wrote {path}")


def _take(run: Run) -> checkpoint.Content:
    """Collect the state of all processes; whole in the main one."""
    names = list(run.trained())
    tensors: dict[str, Any] = dict(run.trained())
    if run.accelerator.distributed_type == DistributedType.FSDP:
        tensors = sharded.get_model_state_dict(run.networks, options=_WHOLE)
        optimizer = sharded.get_optimizer_state_dict(run.networks, run.optimizer.optimizer, options=_WHOLE)
    elif run.accelerator.distributed_type == DistributedType.DEEPSPEED:
        optimizer = {}  # divided among the processes: see `_save_shards`
    else:
        optimizer = run.optimizer.state_dict()
    # A gate may be a vector of one number: see `gates_as_vectors`.
    trained = {name: tensor.reshape(()) if ".alpha_" in name else tensor for name, tensor in tensors.items()}
    device, random = run.accelerator.device, {"cpu": torch.get_rng_state()}  # from which only dropout draws
    if device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(device)
    state: dict[str, Any] = {
        "names": names,
        "optimizer": optimizer,
        "schedule": run.schedule.state_dict(),
        "scaler": run.accelerator.scaler.state_dict() if run.accelerator.scaler is not None else None,
        "random": gather_object([random]),
    }
    ema = None
    if run.ema is not None:
        counters = run.ema.state_dict()
        ema = dict(zip(names, counters.pop("shadow_params"), strict=True))
        state["ema"] = {key: value for key, value in counters.items() if isinstance(value, int | float | bool)}
    kept = (run.step, trained, ema, state, run.options, run.settings)
    return checkpoint.Content(*kept, run.model.frozen_hash, *_data(run))


def _data(run: Run) -> tuple[dict[str, int], dict[str, str]]:
    """How many clips each dataset has, and its fingerprint."""
    sources = run.loader.mixture.sources
    return {source.name: len(source) for source in sources}, {source.name: source.fingerprint for source in sources}


def _save_shards(run: Run) -> Path | None:
    """Under DeepSpeed: each process writes its part of the optimizer's state; the folder."""
    if run.accelerator.distributed_type != DistributedType.DEEPSPEED:
        return None
    folder = run.out / f".checkpoint-{run.step}.shards.partial"
    engine: Any = run.networks
    engine.save_checkpoint(str(folder), tag="state", exclude_frozen_parameters=True)
    return folder


def resume(run: Run, which: str) -> None:
    """Put the run where its checkpoint was, if there is one: `which` is "latest", "none" or a path.

    Raises:
        InputError: no such checkpoint, a broken one, one that trained with other frozen weights, or later ones that
            would be mixed with the new.
    """
    path = find(run.out, which)
    found: list[str] = gather_object([str(path)])  # one from each process
    if len(set(found)) > 1:
        raise InputError(f"the processes would go on from {', '.join(found)}: --output_dir must be on a shared disk")
    if path is None:
        return
    content = checkpoint.read(path)
    checkpoint.check_frozen(path, content.frozen, run.model.frozen_hash)
    clips, data = _data(run)
    if content.clips and content.clips != clips:
        logger.warning(
            f"{path}: the clips of the data were {content.clips} there and are {clips} here: training goes on in "
            "another order"
        )
    elif changed := [name for name in data if content.data.get(name, data[name]) != data[name]]:
        logger.warning(f"{path}: other clips, boxes or captions are in {', '.join(changed)} by now than there")
    _put_back(run, content, path)
    logger.info(f"resumed from {path}")


def find(out: Path, which: str) -> Path | None:
    """The checkpoint to resume from, or None. Raises an InputError as `resume`."""
    latest = checkpoint.latest_in(out)
    if which == "latest":
        return latest
    path = None if which == "none" else Path(which)
    if path is not None and not (path / checkpoint.INFO).is_file():
        raise InputError(f"{path}: no checkpoint to resume from; name a folder checkpoint-N, latest or none")
    step = -1 if path is None else checkpoint.read_info(path)["step"]
    if latest is None or checkpoint.read_info(latest)["step"] <= step:
        return path
    if path is not None and path.resolve().parent != out.resolve():
        return latest  # this run has begun, and goes on
    raise InputError(
        f"{latest}: is there already, and would be mixed with this run's; choose another --output_dir, or delete the "
        "later checkpoints"
    )


def _put_back(run: Run, content: checkpoint.Content, path: Path) -> None:
    state = content.state
    if list(run.trained()) != state["names"] or content.trained.keys() != set(state["names"]):
        raise InputError(f"{path}: other tensors train there than here")
    fsdp = run.accelerator.distributed_type == DistributedType.FSDP
    deepspeed = run.accelerator.distributed_type == DistributedType.DEEPSPEED
    by_name = any(isinstance(key, str) for key in state["optimizer"].get("state", {}))  # as it is kept under FSDP
    for kind, here, there in (("FSDP", fsdp, by_name), ("DeepSpeed", deepspeed, not state["optimizer"])):
        if here != there:
            raise InputError(
                f"{path}: {'was not' if here else 'was'} written under {kind}: go on the same way, or start from its "
                "weights in another --output_dir with --tune_from_ckpt_path"
            )
    if fsdp:
        options = dataclasses.replace(_WHOLE, strict=False)
        shapes = {name: parameter.shape for name, parameter in run.trained().items()}
        trained: dict[str, Any] = {name: value.reshape(shapes[name]) for name, value in content.trained.items()}
        sharded.set_model_state_dict(run.networks, trained, options=options)
        sharded.set_optimizer_state_dict(run.networks, run.optimizer.optimizer, state["optimizer"], options=options)
    elif deepspeed:
        engine: Any = run.networks
        engine.load_checkpoint(str(path / checkpoint.SHARDS), tag="state", load_module_strict=False)
    else:
        _copy(dict(run.trained()), content.trained)
        run.optimizer.load_state_dict(state["optimizer"])
    run.schedule.load_state_dict(state["schedule"])
    if run.accelerator.scaler is not None and state["scaler"] is not None:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    if run.ema is not None and content.ema is not None:
        for name, value in state["ema"].items():
            setattr(run.ema, name, value)
        _copy(dict(zip(state["names"], run.ema.shadow_params, strict=True)), content.ema)
    if run.accelerator.num_processes == len(state["random"]):
        random, device = state["random"][run.accelerator.process_index], run.accelerator.device
        torch.set_rng_state(random["cpu"])
        if device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], device)
    else:
        logger.warning(
            f"{path}: was written by {len(state['random'])} processes: dropout goes on with other random numbers"
        )
    run.step = content.step


@torch.no_grad()
def _copy(targets: dict[str, Tensor], sources: dict[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(sources[name])
