"""Options of `scripts/evaluate_sprites.py` and `scripts/compare_samplers.py`."""

from dataclasses import dataclass

from smcd.config.model import ModelConfig
from smcd.config.options import option


@dataclass
class SpritesConfig(ModelConfig):
    """Which sprites model makes videos, and of which scenes."""

    out: str = option("outputs/sprites_evaluation", "folder for the table and the pictures")
    clips: int = option(64, "held-out scenes", low=1)
    seed: int = option(1000, "of the scenes' world; the model was trained on seed 0")
    world: str = option("built-in", "how rich the world is, as in the training's sprites_world")
    num_max_obj: int = option(4, "objects of a clip in training: scenes are filled up with absent ones")
    batch_size: int = option(8, "scenes that are sampled together", low=1)


@dataclass
class SpritesEvaluationConfig(SpritesConfig):
    """And which other models stand beside it in the table."""

    stage1_ckpt_path: str | None = option(
        None, "its stage-1 model, for how phrases bind; otherwise that row is left out"
    )
    zero_conv_ckpt_path: str | None = option(None, "a model with the zero conv alone, for the paper's ablation")
    image_gate_ckpt_path: str | None = option(None, "a model with the image gate alone, for the paper's ablation")
