"""Options of `scripts/new_model.py`."""

from dataclasses import dataclass, field

from smcd.config.data import DataConfig
from smcd.config.options import option


@dataclass
class SmallModelConfig:
    """What an untrained small model looks like."""

    output_dir: str = option("outputs/small", "pipeline folder to write; must not exist")
    vae: str | None = option(None, "folder of its trained VAE (scripts/train_vae.py)")
    block_out_channels: list[int] = option([64, 96], "channels of the UNet's levels")
    spatial_attention: list[bool] = option([True, False], "which levels have transformers")
    layers_per_block: int = option(1, "layers of a level")
    attention_head_dim: int = option(16, "width of an attention head")
    dropout: float = option(0.0, "while training")
    text_width: int = option(96, "of the text encoder")
    text_layers: int = option(3, "of the text encoder")
    text_length: int = option(40, "tokens of a prompt; longer ones are cut")
    beta_schedule: str = option(
        "scaled_linear", "how the betas of the noise schedule rise; the published one", ("linear", "scaled_linear")
    )
    beta_start: float = option(0.00085, "first beta of the noise schedule; the published one")
    beta_end: float = option(
        0.012, "last beta; a small, smooth world needs a larger one (0.02), or its clips shine through the last noise"
    )
    prediction_type: str = option(
        "v_prediction", "what the UNet predicts: the noise, as published, or the velocity", ("epsilon", "v_prediction")
    )
    captions: int = option(2000, "clips whose captions the tokenizer's words come from")
    seed: int = option(33, "of the weights")
    train_data: DataConfig = field(default_factory=DataConfig, metadata={"without_flags": True})
