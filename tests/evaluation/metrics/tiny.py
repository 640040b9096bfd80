"""Small random CLIP, DINO, SAM 2 and I3D in folders of the true layout."""

from pathlib import Path

import torch
import transformers
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    Sam2VideoConfig,
    Sam2VideoModel,
    ViTConfig,
    ViTModel,
)

from smcd.sprites.tiny import tiny_pipeline

transformers.utils.logging.disable_progress_bar()
_SAM_SIDE = 128


def write_clip(folder: Path) -> Path:
    tokenizer = tiny_pipeline().tokenizer
    part = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    torch.manual_seed(0)
    config = CLIPConfig(text_config=part | text, vision_config=part | {"patch_size": 56}, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    return folder


def write_dino(folder: Path) -> Path:
    torch.manual_seed(0)
    part = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ViTModel(ViTConfig(patch_size=56, **part), add_pooling_layer=False).save_pretrained(folder)
    return folder


def sam2_model() -> Sam2VideoModel:
    """SAM 2's structure at small widths, for frames of 128 x 128; its masks are noise."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 12,
        "image_size": [_SAM_SIDE] * 2,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [12, 24, 48, 96],
        "num_attention_heads_per_stage": [1, 1, 2, 4],
        "window_size_per_stage": [8, 4, 4, 2],
        "global_attention_blocks": [3],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [96, 48, 24, 12],
        "backbone_feature_sizes": [[_SAM_SIDE // stride] * 2 for stride in (4, 8, 16)],
        "fpn_hidden_size": 128,
    }
    decoder = {"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
    config = Sam2VideoConfig(
        vision_config=vision,
        image_size=_SAM_SIDE,
        prompt_encoder_config={"hidden_size": 128, "image_size": _SAM_SIDE, "mask_input_channels": 8},
        mask_decoder_config=decoder,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[_SAM_SIDE // 16] * 2,
        memory_encoder_hidden_size=128,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32,
        memory_fuser_num_layers=1,
    )
    torch.manual_seed(0)
    model = Sam2VideoModel(config)
    with torch.no_grad():
        for parameter in model.mask_decoder.parameters():
            parameter.normal_(std=0.2) if parameter.ndim > 1 else None  # fresh weights hardly look at anything
    object_score(model)[-1].data.fill_(10.0)  # "the object is there"
    return model


def object_score(model: Sam2VideoModel) -> list[torch.nn.Parameter]:
    """What decides whether SAM 2 sees the object at all; the last one is a bias."""
    return list(model.mask_decoder.pred_obj_score_head.parameters())


class Moments(torch.nn.Module):
    """Called like I3D: a few numbers about each video, its course in time among them."""

    def forward(self, video: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        assert (return_features, rescale, resize) == (True, False, False)
        colors = video.mean((3, 4))  # B 3 F
        return torch.cat([colors[:, :, 0], colors[:, :, -1], colors.std(2), video.std((1, 2, 3, 4))[:, None]], 1)


def write_i3d(path: Path) -> Path:
    torch.jit.script(Moments()).save(str(path))
    return path
