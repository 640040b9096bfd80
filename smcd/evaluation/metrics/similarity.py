"""How alike pictures and texts are: CLIP and DINO cosines, PSNR and SSIM. Frames are F H W 3, uint8."""

from collections.abc import Sequence

import numpy as np
import PIL.Image
import torch
from torch import nn

from smcd.runtime.pretrained import IMAGENET_MEAN, IMAGENET_STD, MissingModel, Pretrained, load_processor

_DINO_SIDE, _DINO_CROP = 256, 224
MAX_PSNR = 100.0  # of equal images, whose PSNR is infinite: means and JSON need a number


class CLIPSimilarity(Pretrained):
    """CLIP's embeddings of texts and frames, each of length 1: their dot products are cosines.

    Images go through the PIL image processor, whose numbers do not depend on torchvision.
    `source` is a folder or hub id of a `CLIPModel` with its tokenizer. Raises MissingModel if it cannot be loaded.
    """

    def __init__(self, source: str, device: str = "cpu"):
        from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

        super().__init__(CLIPModel, source, device)
        self.tokenizer = load_processor(CLIPTokenizer, source)
        self.processor = load_processor(CLIPImageProcessorPil, source)
        words = self.model.config.text_config.vocab_size
        if len(self.tokenizer) != words:  # without its files transformers makes one of two words, silently
            raise MissingModel(f"{source}: its CLIPTokenizer has {len(self.tokenizer)} words, the model {words}")

    @torch.inference_mode()
    def images(self, frames: np.ndarray) -> np.ndarray:
        """F C."""
        pictures = [PIL.Image.fromarray(frame) for frame in frames]
        pixels = self.processor(pictures, return_tensors="pt")["pixel_values"].to(self.device)
        return _unit(self.model.get_image_features(pixel_values=pixels).pooler_output)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """N C; what is longer than the 77 tokens that CLIP reads is cut off."""
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        return _unit(self.model.get_text_features(**tokens.to(self.device)).pooler_output)


class DINOSimilarity(Pretrained):
    """DINO's embeddings of frames: the CLS token of the last layer, of length 1.

    Preprocessed as DINO's own evaluation does (short side to 256 bicubic, middle 224, ImageNet's mean and deviation),
    which is not what the checkpoint's processor does.
    `source` is a folder or hub id of a `ViTModel`. Raises MissingModel if it cannot be loaded.
    """

    def __init__(self, source: str, device: str = "cpu"):
        from transformers import ViTModel

        super().__init__(ViTModel, source, device, add_pooling_layer=False)  # DINO has not trained one

    @torch.inference_mode()
    def images(self, frames: np.ndarray) -> np.ndarray:
        """F C."""
        pixels = torch.stack([dino_input(frame) for frame in frames]).to(self.device)
        return _unit(self.model(pixels).last_hidden_state[:, 0])


def dino_input(frame: np.ndarray) -> torch.Tensor:
    """A frame H W 3 (uint8) -> 3 224 224, normalized."""
    height, width = frame.shape[:2]
    scale = _DINO_SIDE / min(height, width)
    size = max(_DINO_SIDE, int(width * scale)), max(_DINO_SIDE, int(height * scale))
    image = PIL.Image.fromarray(frame).resize(size, PIL.Image.Resampling.BICUBIC)
    left, top = (round((side - _DINO_CROP) / 2) for side in size)
    pixels = np.asarray(image.crop((left, top, left + _DINO_CROP, top + _DINO_CROP)), dtype=np.float32) / 255
    return torch.from_numpy(((pixels - IMAGENET_MEAN) / IMAGENET_STD).astype(np.float32)).permute(2, 0, 1)


def _unit(embeddings: torch.Tensor) -> np.ndarray:
    return nn.functional.normalize(embeddings.double(), dim=-1).cpu().numpy()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over rows of the cosines of embeddings F C and F C (or 1 C) of length 1."""
    return float((a * b).sum(-1).mean())


def psnr(frames: np.ndarray, reference: np.ndarray) -> float:
    """PSNR (dB, at most `MAX_PSNR`) of two pictures or two whole videos ... H W 3 (uint8), torchmetrics'."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return min(float(peak_signal_noise_ratio(_floats(frames), _floats(reference), data_range=1.0)), MAX_PSNR)


def _floats(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(pixels)).double() / 255


class FrameFidelity:
    """PSNR (dB, at most `MAX_PSNR`) and SSIM of two frames H W 3 (uint8), torchmetrics' (SSIM: Gaussian, sigma 1.5).

    Raises MissingModel if torchmetrics is not installed.
    """

    def __init__(self) -> None:
        try:
            import torchmetrics
        except ImportError:
            raise MissingModel("PSNR and SSIM need torchmetrics: pip install -e '.[metrics]'") from None
        self.version = torchmetrics.__version__

    def __call__(self, frame: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        from torchmetrics.functional.image import structural_similarity_index_measure

        a, b = (_floats(image).permute(2, 0, 1)[None] for image in (frame, reference))
        ssim = float(structural_similarity_index_measure(a, b, data_range=1.0))
        return {"psnr": psnr(frame, reference), "ssim": ssim}

    def describe(self) -> dict[str, str]:
        return {"source": f"torchmetrics {self.version}"}
