"""SMCD's UNet: ModelScope's text-to-video UNet with an object gate, an image gate and the zero conv."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import AttentionMixin
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_3d_condition import UNet3DConditionOutput
from einops import rearrange
from torch import Tensor, nn

from smcd.models.attention import Attention, KeyValueCache
from smcd.models.blocks import BlockConfig, DownBlock, MidBlock, UpBlock
from smcd.models.transformers import Context, TemporalTransformer

_PATHS = {"objects": "object_gate", "image_tokens": "image_gate", "image_latents": "image_concat"}  # and their switches


class SMCDUNet3D(ModelMixin, AttentionMixin, ConfigMixin):
    """Predicts the noise in a clip's latents, given text, boxes and the first frame (SMCD, ECCV 2024).

    The base is diffusers' `UNet3DConditionModel`, tensor name by tensor name; a fresh SMCDUNet3D with base weights
    (`load_base`) computes exactly what the base computes, since every new path starts at zero.

    Args:
        in_channels, out_channels: channels of the latents.
        block_out_channels: channels of each level, multiples of 32 and of `attention_head_dim`.
        layers_per_block: layers of each level on the way down; one more on the way up.
        attention_head_dim: width of an attention head; the first temporal transformer always has 8 heads.
        cross_attention_dim: width of the text embeddings.
        spatial_attention: for each level, whether it has transformers.
        object_gate: object-gated self-attention (the paper's Motion Integration Module).
        image_gate: image-gated cross-attention (Dual Image Integration Module).
        image_concat: the first frame's latents concatenated to the noisy ones, through a `conv_in` whose added
            input channels start at zero (the paper's zero conv; Dual Image Integration Module).
        image_concat_first_only: concatenate them to the first frame alone, zeros to the others.
        object_dim, image_token_dim: widths of PositionNet's and the image encoder's tokens.
        dropout: in every resnet and temporal convolution while training.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["DownBlock", "MidBlock", "UpBlock"]
    _repeated_blocks = ["SpatialTransformer", "TemporalTransformer"]
    _skip_layerwise_casting_patterns = ["norm", "time_embedding"]

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        attention_head_dim: int = 64,
        cross_attention_dim: int = 1024,
        spatial_attention: tuple[bool, ...] = (True, True, True, False),
        object_gate: bool = True,
        image_gate: bool = True,
        image_concat: bool = True,
        object_dim: int = 1024,
        image_token_dim: int = 1024,
        dropout: float = 0.1,
        image_concat_first_only: bool = False,
    ):
        super().__init__()
        if len(spatial_attention) != len(block_out_channels):
            raise ValueError(
                f"spatial_attention has {len(spatial_attention)} levels, block_out_channels {len(block_out_channels)}"
            )
        widths = list(block_out_channels)
        config = BlockConfig(
            time_dim=4 * widths[0],
            head_dim=attention_head_dim,
            text_dim=cross_attention_dim,
            object_dim=object_dim if object_gate else None,
            image_token_dim=image_token_dim if image_gate else None,
            dropout=dropout,
        )
        self.conv_in = nn.Conv2d(in_channels * (2 if image_concat else 1), widths[0], 3, padding=1)
        if image_concat:
            nn.init.zeros_(self.conv_in.weight[:, in_channels:])
        self.transformer_in = TemporalTransformer(widths[0], heads=8, head_dim=attention_head_dim)
        self.time_proj = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], config.time_dim)

        self.down_blocks = nn.ModuleList()
        skips = [widths[0]]
        for level, width in enumerate(widths):
            last = level == len(widths) - 1
            self.down_blocks.append(
                DownBlock(skips[-1], width, layers_per_block, spatial_attention[level], last, config)
            )
            skips += [width] * (layers_per_block + (not last))
        self.mid_block = MidBlock(widths[-1], config)
        self.up_blocks = nn.ModuleList()
        entering = widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            taken = [skips.pop() for _ in range(layers_per_block + 1)]
            self.up_blocks.append(UpBlock(entering, taken, width, spatial_attention[level], level == 0, config))
            entering = width

        self.conv_norm_out = nn.GroupNorm(32, widths[0], eps=1e-5)
        self.conv_act = nn.SiLU()
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)
        for name, module in self.named_modules():
            if isinstance(module, Attention):
                module.cache_key = name

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor,
        objects: Tensor | None = None,
        image_tokens: Tensor | None = None,
        image_latents: Tensor | None = None,
        object_padding: Tensor | None = None,
        temporal: bool = True,
        cache: KeyValueCache | None = None,
        return_dict: bool = True,
    ) -> UNet3DConditionOutput | tuple[Tensor]:
        """Predict the noise in `sample`.

        Args:
            sample: noisy latents, B 4 F h w; h and w multiples of 2^(levels - 1).
            timestep: a number, or one for each clip, (B,).
            encoder_hidden_states: text embeddings, B 77 C.
            objects: PositionNet's tokens, B F N C_obj; None skips the object gate.
            image_tokens: the image encoder's tokens, B L C_img; None skips the image gate.
            image_latents: clean latents of the first frame, B 4 h w, repeated over the frames; None means zeros.
            object_padding: B N, True where a slot of `objects` only fills the batch: it has no influence at all.
            temporal: False (with F = 1) bypasses every temporal layer, as in stage 1.
            cache: keeps keys and values for the next calls with these conditions; use it without gradients.

        Raises:
            ValueError: a condition without a path, a size it cannot halve, `temporal=False` on several frames.
        """
        self._check(sample, temporal, objects=objects, image_tokens=image_tokens, image_latents=image_latents)
        frames = sample.shape[2]
        context = Context(
            text=encoder_hidden_states,
            objects=None if objects is None else objects.flatten(0, 1),
            object_bias=_padding_bias(object_padding, frames, sample.dtype),
            image_tokens=image_tokens,
            frames=frames,
            temporal=temporal,
            cache=cache,
        )
        time = self._embed_time(timestep, sample)  # (B F) 4C
        if self.config.image_concat:
            sample = torch.cat([sample, self._first_frame(image_latents, sample)], dim=1)  # B 8 F h w
        x = self.conv_in(rearrange(sample, "b c f h w -> (b f) c h w"))
        if temporal:
            x = self.transformer_in(x, frames)

        skips = [x]
        for block in self.down_blocks:
            x, taken = block(x, time, context)
            skips += taken
        x = self.mid_block(x, time, context)
        for block in self.up_blocks:
            x = block(x, [skips.pop() for _ in range(self.config.layers_per_block + 1)], time, context)

        x = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        x = rearrange(x, "(b f) c h w -> b c f h w", f=frames)
        return UNet3DConditionOutput(sample=x) if return_dict else (x,)

    def _first_frame(self, image_latents: Tensor | None, sample: Tensor) -> Tensor:
        """What is concatenated to the noisy latents, B 4 F h w."""
        if image_latents is None:
            return torch.zeros_like(sample)
        repeated = image_latents.to(sample.dtype)[:, :, None].expand_as(sample)
        if not self.config.image_concat_first_only:
            return repeated
        return torch.cat([repeated[:, :, :1], torch.zeros_like(sample[:, :, 1:])], dim=2)

    def _embed_time(self, timestep: Tensor | float | int, sample: Tensor) -> Tensor:
        steps = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(sample.shape[0])
        time = self.time_embedding(self.time_proj(steps).to(sample.dtype))  # B 4C
        return time.repeat_interleave(sample.shape[2], dim=0)

    def _check(self, sample: Tensor, temporal: bool, **conditions: Tensor | None) -> None:
        frames, height, width = sample.shape[2:]
        for name, value in conditions.items():
            if value is not None and not self.config[_PATHS[name]]:
                raise ValueError(f"{name} was given, but this UNet was made with {_PATHS[name]}=False")
        multiple = 2 ** (len(self.config.block_out_channels) - 1)
        if height % multiple or width % multiple:
            raise ValueError(f"latents of {height} x {width}: sides must be multiples of {multiple}")
        if not temporal and frames != 1:
            raise ValueError(f"temporal=False is for single frames, not for {frames}")

    def load_base(self, state_dict: dict[str, Tensor]) -> None:
        """Take the weights of a text-to-video base, named as in diffusers' `UNet3DConditionModel`.

        Gates that it lacks stay as they are, and so do the image channels of `conv_in`.

        Raises:
            ValueError: tensors that are missing, unknown or of another shape, by name.
        """
        own, base = self.state_dict(), dict(state_dict)
        weight, channels = base.get("conv_in.weight"), self.config.in_channels
        if self.config.image_concat and weight is not None and weight.shape[1] == channels:
            base["conv_in.weight"] = torch.cat([weight, own["conv_in.weight"][:, channels:].to(weight)], dim=1)
        for gate in (".object_gate.", ".image_gate."):
            if not any(gate in name for name in base):
                base |= {name: tensor for name, tensor in own.items() if gate in name}
        try:
            self.load_state_dict(base)
        except RuntimeError as error:
            raise ValueError(f"base weights do not fit this UNet: {' '.join(str(error).split())}") from None


@contextmanager
def without_temporal_layers(unet: nn.Module) -> Iterator[None]:
    """Within, every call of the UNet has `temporal=False`: how stage 1 trains, and how its model makes still frames."""
    hook = unet.register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "temporal": False}), with_kwargs=True
    )
    try:
        yield
    finally:
        hook.remove()


def _padding_bias(object_padding: Tensor | None, frames: int, dtype: torch.dtype) -> Tensor | None:
    """-inf for the slots that only fill the batch (B N, True), 0 for the rest: (B F) 1 1 N."""
    if object_padding is None:
        return None
    bias = torch.zeros(object_padding.shape, dtype=dtype, device=object_padding.device)
    bias.masked_fill_(object_padding, float("-inf"))
    return bias.repeat_interleave(frames, dim=0)[:, None, None]
