"""The objective, outside of the networks: predict the noise in noisy latents, or their velocity."""

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from diffusers import SchedulerMixin
from torch import Tensor, nn

from smcd.conditions import Conditions
from smcd.models import ImageEncoder, PositionNet, SMCDUNet3D


@dataclass
class Example:
    """B samples as the networks take them.

    Attributes:
        latents: clean, B 4 F h w, scaled.
        noise: B 4 F h w.
        timesteps: B.
        conditions: with what is dropped already dropped.
        token_ids: the prompts' tokens, B 77, where the text encoder trains; the text of `conditions` is not used then.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    conditions: Conditions
    token_ids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)


class TrainedNetworks(nn.Module):
    """All networks that can train, as one module, so that accelerate wraps one thing.

    Args:
        scheduler: its noise schedule and its prediction type are used, nothing else.
        text_encoder: only where it trains.
        temporal: False bypasses every temporal layer of the UNet.

    Attributes:
        frozen_hash: of the weights that do not train (`start.frozen_hash`), once it is known which.
    """

    def __init__(
        self,
        unet: SMCDUNet3D,
        position_net: PositionNet | None,
        image_encoder: ImageEncoder | None,
        scheduler: SchedulerMixin,
        text_encoder: nn.Module | None = None,
        temporal: bool = True,
    ):
        super().__init__()
        self.unet, self.position_net, self.image_encoder = unet, position_net, image_encoder
        self.text_encoder = text_encoder
        self.scheduler = copy.deepcopy(scheduler)  # it moves its tables to where the samples are
        self.temporal = temporal
        self.frozen_hash: str | None = None
        self.autocast: torch.dtype | None = None  # where accelerate does not do it: under DeepSpeed

    def forward(self, example: Example) -> Tensor:
        """The loss of each sample, B, float32: the mean squared error of the prediction, at noisy latents
        sqrt(a) latents + sqrt(1 - a) noise."""
        latents, noise, timesteps = example.latents, example.noise, example.timesteps
        sample = self.scheduler.add_noise(latents, noise, timesteps)
        with self._precision(latents.device):
            predicted = self._predict(sample, example)
        target = prediction_target(self.scheduler, latents, noise, timesteps)
        return (predicted.float() - target).square().flatten(1).mean(1)

    def _predict(self, sample: Tensor, example: Example) -> Tensor:
        """What the UNet makes of the noisy latents, B 4 F h w."""
        conditions = example.conditions
        if self.text_encoder is not None and example.token_ids is not None:
            conditions = replace(conditions, text=self.text_encoder(example.token_ids).last_hidden_state.float())
        inputs = conditions.unet_inputs(self.unet.config, self.position_net, self.image_encoder)
        return self.unet(sample, example.timesteps, **inputs, temporal=self.temporal, return_dict=False)[0]

    def _precision(self, device: torch.device) -> AbstractContextManager:
        return torch.autocast(device.type, self.autocast) if self.autocast else nullcontext()

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name: "unet.conv_in.weight", "position_net.null_box", ..."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


def prediction_target(scheduler: SchedulerMixin, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the UNet learns to predict: the noise, as published, or the velocity sqrt(a) noise - sqrt(1 - a) latents.

    The squared error of the velocity is that of the clean latents times SNR + 1, so that no noise level is weighted
    down (Salimans and Ho, 2022, arXiv 2202.00512, section 4).
    """
    if scheduler.config.prediction_type == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    return noise


def set_trained(networks: TrainedNetworks, names: set[str], frozen_dtype: torch.dtype | None = None) -> None:
    """Let exactly these parameters train, in float32; cast the frozen layers of UNet and image encoder.

    Norms and PositionNet stay in float32. Raises a ValueError for names that the networks do not have.
    """
    if unknown := names - dict(networks.named_parameters()).keys():
        raise ValueError(f"no such parameters: {', '.join(sorted(unknown))}")
    for name, parameter in networks.named_parameters():
        parameter.requires_grad_(name in names)
        if name in names:
            parameter.data = parameter.data.float()
    for network in (networks.unet, networks.image_encoder):
        if network is None or frozen_dtype is None:
            continue
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
                for parameter in layer.parameters(recurse=False):
                    if not parameter.requires_grad:
                        parameter.data = parameter.data.to(frozen_dtype)
