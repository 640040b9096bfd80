"""From a batch of clips to what the networks take: latents, noise, text, boxes and phrases, some of them dropped.

Everything random about a sample is drawn by NumPy's generator from (seed, step, place in the batch): the draws are the
same on every device, and for any number of processes and workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from smcd.conditions import Conditions
from smcd.data.clips import Batch
from smcd.latents import encode_frames
from smcd.pipeline import SMCDPipeline
from smcd.text import encode_phrases, encode_text, tokenize
from smcd.training.objective import Example
from smcd.training.stages import Drops

_AT_ONCE = 16  # phrases
_KEPT_PHRASES = 100_000  # embeddings that are kept: 400 MB at full width

Key = tuple[int, ...]  # seed, step, index of the sample in the whole batch of that step


@dataclass(frozen=True)
class Draws:
    """What was drawn for B samples; the last four, B, bool, say which ones go without it (see `stages.Drops`)."""

    timesteps: Tensor  # B
    noise: Tensor  # B 4 F h w, float32
    posterior_noise: Tensor  # B 4 F h w, float32, for the sample from the VAE's posterior
    text: Tensor
    boxes: Tensor
    image: Tensor
    image_tokens: Tensor

    @property
    def drops(self) -> dict[str, Tensor]:
        """The arguments of `Conditions.drop`."""
        return {name: getattr(self, name) for name in ("text", "boxes", "image", "image_tokens")}


def step_keys(
    seed: int, step: int, batch_size: int, micro_batch: int = 0, process_index: int = 0, num_processes: int = 1
) -> list[Key]:
    """Keys of one process's samples in micro-batch number `micro_batch` of a step."""
    first = (micro_batch * num_processes + process_index) * batch_size
    return [(seed, step, index) for index in range(first, first + batch_size)]


def draw(keys: Sequence[Key], shape: Sequence[int], drops: Drops, num_timesteps: int = 1000) -> Draws:
    """Draw for the samples with these keys; `shape` is that of a sample's latents, (4, F, h, w)."""
    timesteps, dropped, noise, posterior_noise = [], [], [], []
    for key in keys:
        rng = np.random.default_rng(key)
        timesteps.append(int(rng.integers(num_timesteps)))
        dropped.append(rng.random(4) < (drops.text, drops.boxes, drops.image, drops.image_tokens))
        noise.append(rng.standard_normal(shape, dtype=np.float32))
        posterior_noise.append(rng.standard_normal(shape, dtype=np.float32))
    return Draws(
        torch.tensor(timesteps),
        torch.from_numpy(np.stack(noise)),
        torch.from_numpy(np.stack(posterior_noise)),
        *torch.from_numpy(np.stack(dropped, axis=1)),
    )


class Encoders:
    """The frozen VAE and text encoder of a pipeline; if the text encoder trains, prompts are given as tokens."""

    def __init__(self, pipe: SMCDPipeline, device: torch.device, dtype: torch.dtype, trained_text_encoder: bool):
        self.vae, self.text_encoder, self.tokenizer = pipe.vae, pipe.text_encoder, pipe.tokenizer
        self.num_timesteps = pipe.scheduler.config.num_train_timesteps
        self.device, self.trained_text_encoder = device, trained_text_encoder
        frozen = [self.vae] if trained_text_encoder else [self.vae, self.text_encoder]
        for part in frozen:
            nn.Module.to(part, device, dtype).eval().requires_grad_(False)
        self._phrases: dict[str, Tensor] = {"": torch.zeros(pipe.text_encoder.config.hidden_size, device=device)}

    @torch.no_grad()
    def __call__(self, batch: Batch, keys: Sequence[Key], drops: Drops) -> Example:
        """Encode B clips and draw what is random about them by their keys, one for each clip."""
        batch = batch.to(self.device)
        if batch.frames is not None:
            mean, std = encode_frames(self.vae, batch.frames)
        else:
            assert batch.latent_mean is not None
            assert batch.latent_std is not None
            mean, std = batch.latent_mean, batch.latent_std
        draws = draw(keys, mean.shape[1:], drops, self.num_timesteps)
        latents = mean + std * draws.posterior_noise.to(self.device)
        noise, timesteps = draws.noise.to(self.device), draws.timesteps.to(self.device)
        conditions, tokens = self._conditions(batch, latents[:, :, 0]), self._tokens(batch, draws)
        return Example(latents, noise, timesteps, conditions.drop(**draws.drops), tokens)

    @cached_property
    def _null_text(self) -> Tensor:
        return encode_text(self.tokenizer, self.text_encoder, [""])[0].float()

    def _conditions(self, batch: Batch, image_latents: Tensor) -> Conditions:
        null_text = self._null_text.expand(len(batch), -1, -1)
        if self.trained_text_encoder:
            text = null_text  # the networks encode the tokens
        elif batch.text is not None:
            text = batch.text.float()
        else:
            text = encode_text(self.tokenizer, self.text_encoder, batch.prompts)[0].float()
        phrases = self._phrase_embeddings(batch)[:, None]  # B 1 N C
        return Conditions(text, null_text, batch.boxes, batch.box_mask, phrases, None, image_latents)

    def _phrase_embeddings(self, batch: Batch) -> Tensor:
        """B N C."""
        if batch.phrase_embeddings is not None:
            return batch.phrase_embeddings
        if len(self._phrases) > _KEPT_PHRASES:
            self._phrases = {"": self._phrases[""]}
        new = sorted({phrase for phrases in batch.phrases for phrase in phrases} - self._phrases.keys())
        # Always so many at a time: then a phrase's embedding does not depend, in its last bits, on what else is new in
        # its batch, and a resumed run, whose memory is empty, finds the same.
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            padded = [*some, *[""] * (_AT_ONCE - len(some))]
            embeddings = encode_phrases(self.tokenizer, self.text_encoder, padded)
            self._phrases |= zip(some, embeddings[: len(some)], strict=True)
        return torch.stack([torch.stack([self._phrases[phrase] for phrase in phrases]) for phrases in batch.phrases])

    def _tokens(self, batch: Batch, draws: Draws) -> Tensor | None:
        if not self.trained_text_encoder:
            return None
        prompts = ["" if drop else prompt for prompt, drop in zip(batch.prompts, draws.text.tolist(), strict=True)]
        return tokenize(self.tokenizer, self.text_encoder, prompts)[0].to(self.device)
