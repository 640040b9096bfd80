"""The objective, outside of the networks: predict the noise in noisy latents, or the velocity."""

import copy
from dataclasses import dataclass, replace

import torch
from diffusers import SchedulerMixin
from torch import Tensor, nn

from smcd.conditions import Conditions
from smcd.models import ImageEncoder, PositionNet, SMCDUNet3D


@dataclass
class Example:
    """B samples as the networks take them."""

    latents: Tensor  # clean, B 4 F h w, scaled
    noise: Tensor  # B 4 F h w
    timesteps: Tensor  # B
    conditions: Conditions  # what is dropped is already dropped
    token_ids: Tensor | None = None  # the prompts', B 77, if the text encoder trains: in place of the text


class TrainedNetworks(nn.Module):
    """All networks that can train, as one module, so that accelerate wraps one thing.

    Args:
        scheduler: gives the noise schedule and what is predicted: its `prediction_type` is "epsilon", as published, or
            "v_prediction".
        text_encoder: only if it trains.
        temporal: False bypasses every temporal layer of the UNet.
        snr_gamma: see `loss_weights`; 0 weights all timesteps alike, as published.
    """

    def __init__(
        self,
        unet: SMCDUNet3D,
        position_net: PositionNet | None,
        image_encoder: ImageEncoder | None,
        scheduler: SchedulerMixin,
        text_encoder: nn.Module | None = None,
        temporal: bool = True,
        snr_gamma: float = 0.0,
    ):
        super().__init__()
        self.unet, self.position_net, self.image_encoder = unet, position_net, image_encoder
        self.text_encoder = text_encoder
        self.scheduler = copy.deepcopy(scheduler)  # it moves its tables to where the samples are
        self.temporal, self.snr_gamma = temporal, snr_gamma

    def forward(self, example: Example) -> Tensor:
        """The loss of each sample, B, float32: the mean squared error of the predicted noise or velocity.

        With a the schedule's alphas_cumprod at the timestep, the UNet sees sqrt(a) latents + sqrt(1 - a) noise; the
        velocity is sqrt(a) noise - sqrt(1 - a) latents (Salimans and Ho, 2022, arXiv 2202.00512).
        """
        latents, noise, timesteps, conditions = example.latents, example.noise, example.timesteps, example.conditions
        if self.text_encoder is not None and example.token_ids is not None:
            conditions = replace(conditions, text=self.text_encoder(example.token_ids).last_hidden_state.float())
        inputs = conditions.unet_inputs(self.unet.config, self.position_net, self.image_encoder)

        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        prediction = self.unet(noisy, timesteps, **inputs, temporal=self.temporal, return_dict=False)[0]
        predicts_noise = self.scheduler.config.prediction_type == "epsilon"
        target = noise if predicts_noise else self.scheduler.get_velocity(latents, noise, timesteps)
        losses = (prediction.float() - target).square().flatten(1).mean(1)
        if self.snr_gamma:
            losses = losses * loss_weights(self.scheduler, timesteps, self.snr_gamma)
        return losses

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name: "unet.conv_in.weight", "position_net.null_box", ..."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


def loss_weights(scheduler: SchedulerMixin, timesteps: Tensor, gamma: float) -> Tensor:
    """Min-SNR weights (Hang et al., 2023, arXiv 2303.09556): min(SNR, gamma) / SNR of each timestep.

    That is for predicted noise; for a predicted velocity the divisor is SNR + 1.
    """
    alphas = scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
    snr = alphas / (1 - alphas)
    return snr.clamp(max=gamma) / (snr if scheduler.config.prediction_type == "epsilon" else snr + 1)


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
