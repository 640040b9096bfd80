"""Fréchet video distance: how far two sets of videos lie apart in the features of an I3D network."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from smcd.runtime.errors import InputError, first_line

_SIDE = 224


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet distance of normal distributions fitted to features (N, D) and (M, D), in float64.

    |mean difference|^2 + Tr(S1 + S2 - 2 (S1 S2)^1/2) with the covariances' divisor n - 1 (Heusel et al. 2017). With
    A = centered features / sqrt(n - 1), S = A^T A, the last trace is the nuclear norm of A B^T: no matrix square root,
    whose results differ between releases of scipy, and none of its error where a covariance is singular. Raises an
    InputError if a set has fewer than 2 videos.
    """
    if min(len(a), len(b)) < 2:
        raise InputError(f"FVD needs at least 2 clips in each set; there are {len(a)} and {len(b)}")
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    root_a, root_b = _root(a), _root(b)
    between = np.square(a.mean(0) - b.mean(0)).sum()
    shared = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = between + np.square(root_a).sum() + np.square(root_b).sum() - 2 * shared
    return max(0.0, float(distance))  # rounding can leave -1e-13


def _root(features: np.ndarray) -> np.ndarray:
    """R with R^T R = the covariance: at most D rows, so that the SVD costs the same for any number of videos."""
    centered = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    root: np.ndarray = np.linalg.qr(centered, mode="r")  # type: ignore[assignment]  # an array in this mode
    return root


def frame_repeats(num_frames: int) -> int:
    """How often every frame is shown to I3D: once, or twice if there are only 5 to 8. Raises InputError below 5."""
    if num_frames < 5:
        raise InputError(f"FVD needs clips of at least 5 frames; these have {num_frames}")
    return 1 if num_frames > 8 else 2  # I3D's pooling leaves nothing of fewer than 9


def fvd_name(num_frames: int) -> str:
    """What the number is called: FVD at another frame count, or with repeated frames, is another metric."""
    return f"fvd_{num_frames}" + ("x2" if frame_repeats(num_frames) == 2 else "")


def i3d_input(frames: np.ndarray) -> torch.Tensor:
    """Frames F H W 3 (uint8) as I3D wants them: 3 F' 224 224 in [-1, 1].

    Short side to 224, bilinear without antialiasing, then the middle; frames repeated as `frame_repeats` says.
    """
    video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()  # F 3 H W
    height, width = video.shape[-2:]
    scale = _SIDE / min(height, width)
    size = max(_SIDE, round(height * scale)), max(_SIDE, round(width * scale))
    video = interpolate(video, size, mode="bilinear", align_corners=False)
    top, left = (size[0] - _SIDE) // 2, (size[1] - _SIDE) // 2
    video = video[..., top : top + _SIDE, left : left + _SIDE] / 127.5 - 1
    return video.repeat_interleave(frame_repeats(len(frames)), dim=0).transpose(0, 1)


class I3D:
    """The I3D network of FVD; the usual file gives 400 logits. Raises an InputError if it is not TorchScript."""

    def __init__(self, path: Path, device: str = "cpu"):
        if not path.is_file():
            raise InputError(f"{path}: there is no such file; --fvd_weights names I3D's TorchScript file")
        try:
            self.network = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(f"{path}: is not a TorchScript file ({first_line(error)})") from None
        self.path, self.device = path, device

    @torch.inference_mode()
    def features(self, frames: np.ndarray) -> np.ndarray:
        """Features (D,), float64, of a video F H W 3 (uint8). Raises an InputError if the network is another one."""
        video = i3d_input(frames)[None].to(self.device)
        try:
            features = self.network(video, rescale=False, resize=False, return_features=True)
            return features.reshape(len(video), -1)[0].double().cpu().numpy()
        except (RuntimeError, TypeError, AttributeError) as error:
            raise InputError(f"{self.path}: is not I3D as FVD uses it ({first_line(error)})") from None

    def describe(self) -> dict[str, str]:
        return {"source": self.path.name, "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest()}
