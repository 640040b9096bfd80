"""From a config to its networks: the stage, the weights they start from, what trains; and the model of a checkpoint."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.utils import is_xformers_available
from torch import nn

from smcd.config import DataConfig, ModelOptions, StartOptions, TrainConfig, ValidationOptions, read_config
from smcd.pipeline import SMCDPipeline
from smcd.runtime.built_in import BUILT_IN, TINY
from smcd.runtime.errors import InputError
from smcd.runtime.hashes import weights_hash
from smcd.schedulers import first_timestep
from smcd.training import checkpoint
from smcd.training.objective import TrainedNetworks, set_trained
from smcd.training.stages import Stage, stage_of, trainable_parameters
from smcd.training.starting_weights import load_start, with_paths

logger = logging.getLogger(__name__)

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass
class Model:
    """What trains, and the pipeline around it."""

    stage: Stage
    pipe: SMCDPipeline  # for samples
    networks: TrainedNetworks  # those of the pipeline
    dtype: torch.dtype  # the precision of autocast and of frozen layers; float32 is without autocast
    frozen_hash: str  # of the weights that do not train; a checkpoint knows them by it


def make_model(options: ModelOptions, validation: ValidationOptions) -> Model:
    """The networks on the CPU, with what trains in float32 and the rest in the precision of the run.

    Raises:
        InputError: weights that are missing or do not fit.
    """
    stage = stage_of(options)
    pipe, new_position_net = starting_pipeline(options, stage, validation.validation_data.guidance_scale)
    _check_sizes(pipe, options.train_data, validation)
    parts = (pipe.unet, pipe.position_net, pipe.image_encoder)
    text_encoder = pipe.text_encoder if stage.text_encoder else None
    networks = TrainedNetworks(*parts, pipe.scheduler, text_encoder, stage.temporal, options.snr_gamma)
    names = trainable_parameters(
        stage.name, *parts, new_position_net=new_position_net, temporal=stage.temporal, modules=stage.modules
    )
    if stage.text_encoder:
        names |= {f"text_encoder.{name}" for name, _ in pipe.text_encoder.named_parameters()}
    if not names:
        raise InputError("nothing would train; see trainable_modules")
    known_by = frozen_hash(pipe, names)  # before anything is cast
    dtype = DTYPES[options.mixed_precision]
    set_trained(networks, names, dtype)
    if options.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
    if options.enable_xformers_memory_efficient_attention:
        if is_xformers_available() and torch.cuda.is_available():
            pipe.unet.enable_xformers_memory_efficient_attention()
        else:
            logger.warning("xformers is not installed, or there is no GPU for it: it is left out")
    return Model(stage, pipe, networks, dtype, known_by)


def starting_pipeline(
    options: StartOptions, stage: Stage, guidance_scale: float | None = None
) -> tuple[SMCDPipeline, bool]:
    """The pipeline to start from, with the size of its frames and its guidance; and whether its PositionNet is fresh.

    `guidance_scale` is None for that of the weights.
    """
    base, weights = options.root_path or options.pretrained_model_path, options.tune_from_ckpt_path
    base = None if base == TINY else base
    tokenizer = options.tokenizer or (options.pretrained_model_path if options.root_path else None)
    base_unet, new_position_net = options.pretrained_weight_path, options.new_position_net
    found = None if weights is None or weights in BUILT_IN else checkpoint.find(Path(weights))
    if found is not None and base_unet is not None:
        logger.warning(f"{found}: knows its own base; --pretrained_weight_path is not used")
    source = weights if found is None else load_checkpoint(found)
    pipe = load_start(base, tokenizer, base_unet, source, not new_position_net, options.seed)
    fresh = stage.object_gate and pipe.position_net is None
    # Stage 1 trains a PositionNet from nothing; stage 2 does so only if it is told to, or with the tiny model.
    if fresh and not new_position_net and (weights is not None or (base is not None and stage.name != "1")):
        raise InputError(
            f"stage {stage.name} starts from weights with a PositionNet: give the result of stage 1, "
            "--tune_from_ckpt_path; or ask for a fresh one, --new_position_net"
        )
    gate_init, first_frame_only = options.gate_init, options.only_cat_first_frame
    pipe = with_paths(pipe, stage, gate_init, options.new_image_paths, first_frame_only, options.seed)
    data = options.train_data
    height, width = data.height, data.width
    if data.name == "gligen":
        height = width = max((some.image_size for some in data.dataset_names.values()), default=height)
    pipe.register_to_config(frame_height=height, frame_width=width)
    if stage.temporal:
        pipe.register_to_config(num_frames=data.n_sample_frames)
    if guidance_scale is not None:  # what its sample videos were made with
        pipe.register_to_config(guidance_scale=guidance_scale)
    return pipe, fresh


def load_checkpoint(path: Path, ema: bool = True, overrides: Sequence[str] = ()) -> SMCDPipeline:
    """The pipeline with a checkpoint's weights, float32: what its config starts from, with what trained.

    Args:
        ema: take the running average, if there is one.
        overrides: "option=value", for weights to start from that have moved since.

    Raises:
        InputError: a broken checkpoint, or one whose starting weights are not found, or are others by now.
    """
    config = read_config(TrainConfig, path / checkpoint.CONFIG, overrides)
    pipe, _ = starting_pipeline(config, stage_of(config), config.validation_data.guidance_scale)
    file = checkpoint.EMA if ema and (path / checkpoint.EMA).is_file() else checkpoint.TRAINED
    checkpoint.check_files(path, file)
    tensors = checkpoint.read_tensors(path / file)
    networks = TrainedNetworks(pipe.unet, pipe.position_net, pipe.image_encoder, pipe.scheduler, pipe.text_encoder)
    own = networks.state_dict()
    wrong = [name for name, tensor in tensors.items() if name not in own or own[name].shape != tensor.shape]
    if wrong:
        raise InputError(f"{path}: {len(wrong)} tensors do not fit what it started from: {', '.join(wrong[:5])}")
    checkpoint.check_frozen(path, checkpoint.read_info(path)["frozen"], frozen_hash(pipe, tensors.keys()))
    networks.load_state_dict(tensors, strict=False)
    networks.eval()
    return pipe


def frozen_hash(pipe: SMCDPipeline, trained: Collection[str]) -> str:
    """A hash of all weights that do not train; `trained` are names as in `TrainedNetworks`."""
    frozen = {
        f"{part}.{name.removeprefix('text_model.')}": tensor  # which not all versions of transformers have
        for part, network in pipe.components.items()
        if isinstance(network, nn.Module)
        for name, tensor in network.state_dict().items()
        if f"{part}.{name}" not in trained
    }
    return weights_hash(frozen, rounded=True)


def _check_sizes(pipe: SMCDPipeline, train_data: DataConfig, validation: ValidationOptions) -> None:
    """Raise an InputError for pictures that the networks cannot take, or steps that sampling cannot."""
    sides: dict[str, int | None] = {}
    sections = {"train_data": train_data, "eval_data": validation.eval_data}
    for section in list(sections) if validation.validation_steps else ["train_data"]:
        data = sections[section]
        if data.name == "gligen":
            sets = data.dataset_names.items()
            sides |= {f"{section}.dataset_names.{name}.image_size": some.image_size for name, some in sets}
        else:
            sides |= {f"{section}.width": data.width, f"{section}.height": data.height}
    if validation.validation_steps and validation.validation_videos:
        sampling = validation.validation_data
        sides |= {"validation_data.width": sampling.width, "validation_data.height": sampling.height}
        try:
            first_timestep(pipe.scheduler, sampling.num_inference_steps)
        except ValueError as error:
            raise InputError(f"validation_data.{error}") from None
    multiple = pipe.size_multiple
    for name, side in sides.items():
        if side is not None and (side < multiple or side % multiple):
            raise InputError(f"{name} is {side}; this model takes multiples of {multiple}")
