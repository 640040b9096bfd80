"""Zero-shot detectors: where an object is that words name."""

import numpy as np
import torch
from torch.nn.functional import interpolate, pad
from transformers import AutoModelForZeroShotObjectDetection, AutoTokenizer

from smcd.runtime.pretrained import IMAGENET_MEAN, IMAGENET_STD, MissingModel, Pretrained, load_processor

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_SHORTEST, _LONGEST = 800, 1333  # sides of the image that Grounding DINO sees
_LEAST = {"owlv2": 0.1, "grounding-dino": 0.25}  # scores, as transformers has them by default


class Detector(Pretrained):
    """OWLv2 or Grounding DINO, from a folder or hub id.

    Images are preprocessed by hand, as the models' processors would (they need torchvision or scipy). Raises
    MissingModel if it cannot be loaded, or is a detector of another kind.
    """

    def __init__(self, source: str, device: str = "cpu"):
        super().__init__(AutoModelForZeroShotObjectDetection, source, device)
        self._kind = self.model.config.model_type
        if self._kind not in _LEAST:
            raise MissingModel(f"{source} is a {self._kind}; a detector is an OWLv2 or a Grounding DINO")
        self._tokenizer = load_processor(AutoTokenizer, source)

    @torch.inference_mode()
    def __call__(self, frame: np.ndarray, words: str) -> np.ndarray | None:
        """The box (4,), xyxy in pixels of a frame H W 3, that fits the words best; None if nothing does."""
        height, width = frame.shape[:2]
        pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float().to(self.device) / 255
        if self._kind == "owlv2":  # the image is padded to a square, and boxes are in parts of it
            side = self.model.config.vision_config.image_size
            width = height = max(height, width)
            pixels = pad(pixels, (0, width - frame.shape[1], 0, height - frame.shape[0]))
            pixels = _normalized(pixels, (side, side), _CLIP_MEAN, _CLIP_STD)
            length = self.model.config.text_config.max_position_embeddings
            text = self._tokenizer(
                [words], padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            )
        else:
            scale = min(_SHORTEST / min(height, width), _LONGEST / max(height, width))
            pixels = _normalized(pixels, (round(height * scale), round(width * scale)), IMAGENET_MEAN, IMAGENET_STD)
            text = self._tokenizer([f"{words.strip().lower().rstrip('.')}."], return_tensors="pt")
        output = self.model(pixel_values=pixels, **text.to(self.device))
        scores = output.logits[0].sigmoid().amax(-1)
        best = int(scores.argmax())
        if scores[best] < _LEAST[self._kind]:
            return None
        x, y, w, h = output.pred_boxes[0, best].cpu().double().numpy() * [width, height, width, height]
        box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        return np.clip(box, 0, [frame.shape[1], frame.shape[0]] * 2)


def _normalized(
    pixels: torch.Tensor, size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...]
) -> torch.Tensor:
    """Pixels B 3 H W in 0..1, squashed to height and width."""
    pixels = interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
    mean_tensor, std_tensor = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (mean, std))
    return (pixels - mean_tensor) / std_tensor
