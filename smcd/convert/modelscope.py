"""VAE and text encoder of a ModelScope folder, through diffusers' own converters."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint, convert_open_clip_checkpoint
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from smcd.convert.names import check_tensors
from smcd.convert.weight_files import load_tensors
from smcd.runtime.errors import InputError, first_line

UNET_FILE = "text2video_pytorch_model.pth"
VAE_FILE = "VQGAN_autoencoder.pth"
TEXT_FILE = "open_clip_pytorch_model.bin"
_HEAD_DIM = 64  # OpenCLIP's text towers have heads of this width
_RESBLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.")
_TEXT = ("transformer.resblocks.", "token_embedding.", "positional_embedding", "ln_final.")
_NOT_TEXT = ("visual.", "logit_scale", "text_projection", "attn_mask")


def is_modelscope(folder: Path) -> bool:
    """Whether the folder is laid out as `damo/text-to-video-synthesis` is."""
    return (folder / UNET_FILE).is_file() or (folder / TEXT_FILE).is_file()


def load_vae(folder: Path) -> AutoencoderKL:
    """Stable Diffusion's VAE, whose tensors lie under "state_dict" and "first_stage_model."."""
    path = folder / VAE_FILE
    tensors = load_tensors(path, below="state_dict")
    prefix = "first_stage_model."
    tensors = {name.split(prefix)[-1]: tensor for name, tensor in tensors.items() if prefix in name}
    if not tensors:
        raise InputError(f"{path}: no tensors of a VAE below {prefix!r}")
    with _one_line(path):
        config = _vae_config(tensors)
        vae = AutoencoderKL(**config)
        weights = convert_ldm_vae_checkpoint(tensors, config)
    _check_all_used(path, tensors, weights)
    return _filled(vae, weights, f"{path} (diffusers' names)")


def _vae_config(tensors: Mapping[str, Tensor]) -> dict:
    levels = {int(match[1]) for name in tensors if (match := re.match(r"encoder\.down\.(\d+)\.block\.0\.", name))}
    convs = [f"encoder.down.{level}.block.{{}}.conv1.weight" for level in sorted(levels)]
    return {
        "block_out_channels": tuple(tensors[conv.format(0)].shape[0] for conv in convs),
        "layers_per_block": sum(convs[0].format(layer) in tensors for layer in range(8)),
        "down_block_types": ("DownEncoderBlock2D",) * len(levels),
        "up_block_types": ("UpDecoderBlock2D",) * len(levels),
        "latent_channels": tensors["post_quant_conv.weight"].shape[0],
        "scaling_factor": 0.18215,
    }


def load_text_encoder(folder: Path) -> CLIPTextModel:
    """OpenCLIP's text tower without its last layer: its last hidden state is the penultimate layer's."""
    path = folder / TEXT_FILE
    tensors = load_tensors(path)
    if unknown := sorted(name for name in tensors if not name.startswith((*_TEXT, *_NOT_TEXT))):
        raise InputError(f"{path}: not an OpenCLIP checkpoint: unknown tensors {', '.join(unknown)}")
    layers = max((int(match[1]) for name in tensors if (match := _RESBLOCK.match(name))), default=0)  # the last's index
    left_out = (*_NOT_TEXT, f"transformer.resblocks.{layers}.")
    text = {name: tensor for name, tensor in tensors.items() if not name.startswith(left_out)}
    prefix = "cond_stage_model.model."
    with _one_line(path):
        model = CLIPTextModel(_text_config(text, layers))
        weights = convert_open_clip_checkpoint(model, {prefix + name: tensor for name, tensor in text.items()}, prefix)
    _check_all_used(path, {n: t for n, t in text.items() if ".in_proj_" not in n}, weights)  # those are split in three
    if not any(name.startswith("text_model.") for name in model.state_dict()):  # transformers 5 dropped this level
        weights = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    return _filled(model, weights, f"{path} (transformers' names)")


def _filled(model: Any, weights: Mapping[str, Tensor], what: str) -> Any:
    """The model in eval mode with exactly these weights; raises an InputError where one does not fit."""
    check_tensors(what, weights, {name: tensor.shape for name, tensor in model.state_dict().items()})
    model.load_state_dict(weights)
    return model.eval()


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """A KeyError of a converter is a missing tensor, most other errors are tensors of impossible shapes."""
    try:
        yield
    except KeyError as error:
        raise InputError(f"{path}: missing {error.args[0]}") from None
    except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: tensors of impossible shapes ({first_line(error)})") from None


def _check_all_used(path: Path, tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raise an InputError for tensors that the converter left out; what it took shares its memory with the source."""
    used = {tensor.data_ptr() for tensor in weights.values()}
    unknown = sorted(name for name, tensor in tensors.items() if tensor.data_ptr() not in used)
    if unknown:
        raise InputError(f"{path}: {len(unknown)} unknown tensors: {', '.join(unknown)}")


def _text_config(text: Mapping[str, Tensor], layers: int) -> CLIPTextConfig:
    needed = ("token_embedding.weight", "positional_embedding", "transformer.resblocks.0.mlp.c_fc.weight")
    (vocabulary, width), (positions, _), (inner, _) = (text[name].shape for name in needed)
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // _HEAD_DIM),
        max_position_embeddings=positions,
        hidden_act="gelu",
    )
