"""Folders of the true layouts with small weights: published, diffusers base, ModelScope base."""

import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel

from smcd.convert import to_published
from smcd.convert.weight_files import PUBLISHED_FILES
from smcd.pipeline import SMCDPipeline


def write_published(folder: Path, pipe: SMCDPipeline) -> Path:
    folder.mkdir()
    parts = {"unet": pipe.unet, "position_net": pipe.position_net, "visual_encoder": pipe.image_encoder}
    own = {part: network.state_dict() for part, network in parts.items() if network is not None}
    for part, tensors in to_published(own).items():
        torch.save(tensors, folder / PUBLISHED_FILES[part])
    return folder


def write_diffusers_base(folder: Path, pipe: SMCDPipeline) -> Path:
    for name in ("vae", "text_encoder", "tokenizer", "scheduler"):
        getattr(pipe, name).save_pretrained(folder / name)
    return folder


def write_modelscope_base(folder: Path, pipe: SMCDPipeline) -> Path:
    folder.mkdir()
    (folder / "configuration.json").write_text("{}")
    vae = {f"first_stage_model.{name}": tensor for name, tensor in ldm_vae(pipe.vae).items()}
    torch.save({"state_dict": {**vae, "loss.logvar": torch.zeros(1)}}, folder / "VQGAN_autoencoder.pth")
    torch.save(open_clip(pipe.text_encoder), folder / "open_clip_pytorch_model.bin")
    base = {name: t for name, t in pipe.unet.state_dict().items() if "_gate." not in name}
    torch.save(to_published({"unet": base})["unet"], folder / "text2video_pytorch_model.pth")
    return folder


def ldm_vae(vae: AutoencoderKL) -> dict[str, Tensor]:
    """A VAE's tensors by their latent-diffusion names."""
    levels = len(vae.config.block_out_channels)
    renamed = {}
    for name, tensor in vae.state_dict().items():
        for pattern, replacement in (
            (r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2"),
            (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
            (r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}.block.{m[2]}"),
            (r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample"),
            (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
            (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
            (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
            (r"mid_block\.attentions\.0\.to_(.)", r"mid.attn_1.\1"),
            (r"conv_shortcut", "nin_shortcut"),
            (r"conv_norm_out", "norm_out"),
        ):
            name = re.sub(pattern, replacement, name)
        is_projection = ".attn_1." in name and tensor.ndim == 2
        renamed[name] = tensor[:, :, None, None].clone() if is_projection else tensor
    return renamed


def open_clip(text_encoder: CLIPTextModel) -> dict[str, Tensor]:
    """A text encoder's tensors by their OpenCLIP names, with the last layer and the image tower that it lacks."""
    source = text_encoder.state_dict()
    width, layers = text_encoder.config.hidden_size, text_encoder.config.num_hidden_layers
    tensors = {
        "token_embedding.weight": source["embeddings.token_embedding.weight"],
        "positional_embedding": source["embeddings.position_embedding.weight"],
        "ln_final.weight": source["final_layer_norm.weight"],
        "ln_final.bias": source["final_layer_norm.bias"],
        "text_projection": torch.randn(width, width),
        "logit_scale": torch.ones(()),
        "visual.conv1.weight": torch.randn(width, 3, 2, 2),
    }
    names = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    names["attn.out_proj"] = "self_attn.out_proj"
    for layer in range(layers + 1):
        theirs = f"transformer.resblocks.{layer}"
        ours = f"encoder.layers.{min(layer, layers - 1)}"  # the extra last layer may hold anything
        for leaf in ("weight", "bias"):
            for new, old in names.items():
                tensors[f"{theirs}.{new}.{leaf}"] = source[f"{ours}.{old}.{leaf}"]
            qkv = [source[f"{ours}.self_attn.{p}_proj.{leaf}"] for p in "qkv"]
            tensors[f"{theirs}.attn.in_proj_{leaf}"] = torch.cat(qkv)
    return tensors
