"""SMCDPipeline: an image, boxes and a prompt become a video."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from smcd.conditions import Conditions, collate_boxes
from smcd.guidance import Guidance, GuidedDenoiser
from smcd.inputs import (
    Images,
    Prompts,
    after_callback,
    boxes_and_phrases,
    check_call,
    check_parts,
    check_paths,
    check_size,
    check_tensor,
    count_prompts,
    image_pixels,
    per_clip_generators,
    prompts_by_frame,
)
from smcd.latents import decode_video, encode_images, related_noise
from smcd.parts import Parts
from smcd.text import encode_phrase_lists, encode_text


@dataclass
class SMCDPipelineOutput(BaseOutput):
    """`frames`: "np" float B F H W 3 in 0..1, "pt" float B F 3 H W, "pil" lists of lists, "latent" B 4 F h w."""

    frames: Any


class SMCDPipeline(Parts):
    """Animates still images: objects follow their boxes (SMCD, ECCV 2024).

    A diffusers pipeline: `from_pretrained` (folder or hub id), `save_pretrained`, offloading, callbacks and progress
    bar work as there. `position_net` is None if the UNet has no object gate, `image_encoder` if it has no image gate.
    Any diffusers scheduler with betas does whose `prediction_type` is "epsilon" or "v_prediction". `text_encoder` and
    `tokenizer` may be None, if embeddings are given instead of texts. `frame_height`, `frame_width` (of training) and
    `guidance_scale` are what a call takes by default.
    """

    @torch.no_grad()
    def __call__(
        self,
        prompt: Prompts | None = None,
        image: Images = None,
        boxes: Sequence[Any] | None = None,
        phrases: Sequence[Any] | None = None,
        num_frames: int = 8,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float | None = None,
        image_guidance_scale: float = 0.0,
        text_image_guidance_scale: float = 0.0,
        box_guidance_scale: float = 0.0,
        negative_prompt: str | list[str] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict] | PipelineCallback | MultiPipelineCallbacks | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        low_memory: bool = False,
        phrase_embeds: Tensor | Sequence[Tensor | None] | None = None,
        window: int | None = None,
        window_stride: int | None = None,
        decode_chunk_size: int | None = None,
    ) -> SMCDPipelineOutput | tuple[Any]:
        """Generate one clip, or a batch of clips when `prompt` is a list.

        Args:
            prompt: what happens in the video; or, where there are windows, what happens from a frame on:
                {0: "A dog sits.", 32: "A dog runs."}.
            image: the first frame: PIL or the path of a file (EXIF applied, transparency on white), array H W 3, or
                tensor 3 H W, of whole numbers in 0..255 or floats in 0..1, or gray; squashed to height x width. None:
                nothing is known of it (zero latents).
            boxes: F lists of N boxes, xyxy in 0..1, None where the object is absent. None: eight null tokens.
            phrases: N names, one for each object.
            num_frames, height, width: F, and pixels: multiples of `size_multiple`; by default what the
                networks were trained with, 256 x 256 for the full model.
            num_inference_steps: denoising steps.
            guidance_scale: text guidance, eps(null) + s (eps(text) - eps(null)); off at 1 and below; by default the
                pipeline's own, 7.5 for the full model.
            image_guidance_scale, text_image_guidance_scale, box_guidance_scale: see `Guidance`.
            negative_prompt: in place of the empty null prompt.
            generator: one per clip, or one to derive them from. A clip's noise is drawn first, then the sample of its
                first frame's latents.
            latents: noise to start from, B 4 F h w.
            prompt_embeds, negative_prompt_embeds: in place of the prompts, B 77 C.
            phrase_embeds: in place of the phrases, N C, see `smcd.text.encode_phrases`.
            output_type, return_dict: see `SMCDPipelineOutput`; False returns a tuple.
            callback_on_step_end, callback_on_step_end_tensor_inputs: as in diffusers.
            low_memory: guidance branches one after the other instead of as one batch; same result.
            window, window_stride: a video of more frames than `window` goes through overlapping windows (see
                `GuidedDenoiser`); by default as many frames as the networks were trained with, half of them apart. 0
                switches windows off.
            decode_chunk_size: how many frames the VAE decodes at a time; by default those of a window, of all clips.

            In a batch, `image`, `boxes` and `phrases` (or `phrase_embeds`) are lists of these, and N may differ from
            clip to clip; a single one goes for all clips.

        Raises:
            ValueError: an input that does not fit, by name.
        """
        callback, callback_inputs = callback_on_step_end, callback_on_step_end_tensor_inputs
        if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
            callback_inputs = callback.tensor_inputs
        prompts, later_prompts = prompts_by_frame(prompt, num_frames)
        batch_size = count_prompts(prompts, prompt_embeds)
        height = self.config.frame_height if height is None else height
        width = self.config.frame_width if width is None else width
        scales = {
            "guidance_scale": self.config.guidance_scale if guidance_scale is None else guidance_scale,
            "image_guidance_scale": image_guidance_scale,
            "text_image_guidance_scale": text_image_guidance_scale,
            "box_guidance_scale": box_guidance_scale,
        }
        check_call(num_inference_steps, output_type, scales)
        check_size(num_frames, height, width, self.size_multiple)
        windows = self.windows(num_frames, window, window_stride)
        if later_prompts and len(windows) == 1:
            raise ValueError(f"prompts by frame need windows; {num_frames} frames are one, give the video one prompt")
        check_parts(self.unet.config, self.scheduler, self.position_net, self.image_encoder)
        check_paths(self.unet.config, image, boxes)
        if not set(callback_inputs) <= set(self._callback_tensor_inputs):
            raise ValueError(f"callback_on_step_end_tensor_inputs must be among {self._callback_tensor_inputs}")
        guidance = Guidance(*scales.values())
        self._interrupt = False
        generators = per_clip_generators(generator, batch_size)
        channels, size = self.unet.config.in_channels, (height // self.vae_scale_factor, width // self.vae_scale_factor)
        pixels = image_pixels(image, batch_size, (height, width))

        try:
            # A callback may switch guidance on.
            null = guidance.drops_text or (callback is not None and self.text_encoder is not None)
            text, null_text = self.encode_prompt(prompts, negative_prompt, prompt_embeds, negative_prompt_embeds, null)
            later_texts = {
                start: self.encode_prompt(later, do_classifier_free_guidance=False)[0]
                for start, later in later_prompts.items()
            }
            box_tensors = self._encode_boxes(boxes, phrases, phrase_embeds, batch_size, num_frames)
            self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
            # A clip's generator gives first the noise, then the posterior sample of the image.
            latents = self._prepare_latents(latents, (batch_size, channels, num_frames, *size), generators, windows)
            image_latents = encode_images(self.vae, pixels, (batch_size, channels, *size), generators, latents.device)
            image_latents = image_latents.to(self.unet.dtype)
            text, null_text = text.to(image_latents), None if null_text is None else null_text.to(image_latents)
            later_texts = {start: later.to(image_latents) for start, later in later_texts.items()}
            conditions = Conditions(text, null_text, *box_tensors, image_latents, None, later_texts)
            latents = self.denoise(
                latents, conditions, guidance, generators, low_memory, callback, callback_inputs, windows
            )
            frames = latents
            if output_type != "latent":
                frames = self.decode_latents(latents, output_type, decode_chunk_size)
        finally:
            self.maybe_free_model_hooks()
        return SMCDPipelineOutput(frames=frames) if return_dict else (frames,)

    def denoise(
        self,
        latents: Tensor,
        conditions: Conditions,
        guidance: Guidance,
        generators: list[torch.Generator] | None = None,
        low_memory: bool = False,
        callback: Callable[..., dict] | None = None,
        callback_inputs: Sequence[str] = ("latents",),
        windows: Sequence[range] | None = None,
    ) -> Tensor:
        """From noise to clean latents (B 4 F h w) over the scheduler's timesteps (set before)."""
        denoiser = GuidedDenoiser(self.unet, self.position_net, self.image_encoder, low_memory, windows)
        denoiser.prepare(conditions, guidance)
        self._guidance_scale, self._num_timesteps = guidance.text, len(self.scheduler.timesteps)
        takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        arguments = {"generator": generators} if takes_generator else {}
        for i, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            if self.interrupt:
                continue
            eps = denoiser(self.scheduler.scale_model_input(latents, t), t)
            latents = self.scheduler.step(eps, t, latents, **arguments, return_dict=False)[0]
            if callback is not None:
                given: dict[str, Any] = {"latents": latents, "prompt_embeds": conditions.text}
                given["negative_prompt_embeds"] = conditions.null_text
                returned = callback(self, i, t, {name: given[name] for name in callback_inputs}) or {}
                latents, text, null_text = after_callback(given, returned).values()
                if {*callback_inputs, *returned} - {"latents"}:  # embeddings may also have been changed in place
                    conditions = replace(conditions, text=text, null_text=null_text)
                denoiser.prepare(conditions, replace(guidance, text=self._guidance_scale))
        return latents

    def encode_prompt(
        self,
        prompt: str | list[str] | None,
        negative_prompt: str | list[str] | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        do_classifier_free_guidance: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Embeddings of the prompts and of the null (or negative) prompts, each B 77 C.

        Without `do_classifier_free_guidance`, the latter are None unless they are given.
        """
        device, width = self._execution_device, self.unet.config.cross_attention_dim
        if prompt_embeds is None:
            prompts = [prompt] if isinstance(prompt, str) else list(prompt or [])
            prompt_embeds, _ = encode_text(self.tokenizer, self.text_encoder, prompts, device)
        else:
            check_tensor("prompt_embeds", prompt_embeds, (None, None, width))
        if negative_prompt is not None and negative_prompt_embeds is not None:
            raise ValueError("give either negative_prompt or negative_prompt_embeds")
        if negative_prompt_embeds is not None:
            check_tensor("negative_prompt_embeds", negative_prompt_embeds, (None, *prompt_embeds.shape[1:]))
        elif do_classifier_free_guidance:
            negative = negative_prompt if isinstance(negative_prompt, list) else [negative_prompt or ""]
            negative_prompt_embeds, _ = encode_text(self.tokenizer, self.text_encoder, negative, device)
        else:
            return prompt_embeds, None
        if len(negative_prompt_embeds) not in (1, len(prompt_embeds)):
            raise ValueError(f"{len(negative_prompt_embeds)} negative prompts for {len(prompt_embeds)} prompts")
        return prompt_embeds, negative_prompt_embeds.expand_as(prompt_embeds)

    def _encode_boxes(
        self, boxes: Any, phrases: Any, phrase_embeds: Any, batch_size: int, num_frames: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """boxes, box_mask, phrase_embeddings and object_padding of `Conditions`."""
        clips, names = boxes_and_phrases(boxes, phrases, phrase_embeds, batch_size)
        device, width = self._execution_device, self.unet.config.cross_attention_dim
        for of_clip in names:
            if phrase_embeds is not None and len(of_clip):
                check_tensor("phrase_embeds", of_clip, (None, width))
        box_tensor, box_mask, padding = collate_boxes(clips, num_frames)
        embeddings = encode_phrase_lists(self.tokenizer, self.text_encoder, names, (*padding.shape, width), device)
        return box_tensor.to(device), box_mask.to(device), embeddings[:, None], padding.to(device)

    def _prepare_latents(
        self,
        latents: Tensor | None,
        shape: tuple[int, ...],
        generators: list[torch.Generator] | None,
        windows: Sequence[range],
    ) -> Tensor:
        """Initial noise of shape B 4 F h w, float32."""
        if latents is None:
            latents = randn_tensor(shape, generators, self._execution_device, torch.float32)
            if len(windows) > 1:
                latents = related_noise(latents, len(windows[0]), windows[1].start, generators)
        else:
            check_tensor("latents", latents, shape)
        return latents.to(self._execution_device, torch.float32) * self.scheduler.init_noise_sigma

    def decode_latents(self, latents: Tensor, output_type: str = "np", decode_chunk_size: int | None = None) -> Any:
        """Frames of latents (B 4 F h w), in the form of `output_type`; decoded so many frames at a time."""
        at_once = min(latents.shape[2], self.config.num_frames) * len(latents)
        return self.video_processor.postprocess_video(
            decode_video(self.vae, latents, decode_chunk_size or at_once), output_type
        )
