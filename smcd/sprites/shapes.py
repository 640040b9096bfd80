"""Shapes of the sprites world, as functions that say how far a point is inside."""

from collections.abc import Callable

import numpy as np

_OVERSAMPLING = 3  # points per pixel and axis, for smooth edges


def _polygon(*points: tuple[float, float]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Whether points lie in a polygon, by crossings of a ray."""

    def inside(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        odd = np.zeros(u.shape, dtype=bool)
        for (x1, y1), (x2, y2) in zip(points, (*points[1:], points[0]), strict=True):
            crosses = (y1 > v) != (y2 > v)
            if y1 != y2:
                odd ^= crosses & (u < x1 + (v - y1) / (y2 - y1) * (x2 - x1))
        return odd

    return inside


def _regular(corners: int, inner: float = 1.0) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A regular polygon, or with `inner` < 1 a star, the first corner up; v grows downwards."""
    steps = corners if inner == 1 else 2 * corners
    radii = [1.0 if inner == 1 or k % 2 == 0 else inner for k in range(steps)]
    angles = [2 * np.pi * k / steps - np.pi / 2 for k in range(steps)]
    return _polygon(*((r * np.cos(a), r * np.sin(a)) for r, a in zip(radii, angles, strict=True)))


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    x, y = 1.25 * u, 0.1 - 1.2 * v
    return (x**2 + y**2 - 1) ** 3 - x**2 * y**3 <= 0


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {  # in a disc of radius about 1
    "circle": lambda u, v: u**2 + v**2 <= 0.85,
    "square": lambda u, v: np.maximum(abs(u), abs(v)) <= 0.8,
    "triangle": _regular(3),
    "star": _regular(5, inner=0.45),
    "heart": _heart,
    "diamond": lambda u, v: 1.35 * abs(u) + abs(v) <= 1,
    "ring": lambda u, v: abs(np.hypot(u, v) - 0.7) <= 0.22,
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) <= 0.28) & (np.maximum(abs(u), abs(v)) <= 0.9),
    "hexagon": _regular(6),
    "moon": lambda u, v: (u**2 + v**2 <= 0.85) & ((u - 0.5) ** 2 + (v + 0.1) ** 2 > 0.55),
    "arrow": _polygon((0.95, 0), (0.1, -0.8), (0.1, -0.32), (-0.9, -0.32), (-0.9, 0.32), (0.1, 0.32), (0.1, 0.8)),
}


def coverage(
    shape: str, center: np.ndarray, radius: float, angle: float, size: int
) -> tuple[np.ndarray, slice, slice, float]:
    """How much of each pixel a shape covers.

    Args:
        center, radius: in pixels; the shape may lie partly or wholly outside the size x size frame.
        angle: clockwise, in radians.

    Returns:
        Coverage (0..1) in a window of the frame, the window's rows and columns, and the area of the whole shape in
        pixels, the part outside the frame included.
    """
    low = np.floor(center - 1.1 * radius).astype(int) - 1
    high = np.ceil(center + 1.1 * radius).astype(int) + 1
    x, y = ((np.arange((b - a) * _OVERSAMPLING) + 0.5) / _OVERSAMPLING + a for a, b in zip(low, high, strict=True))
    dx, dy = (x[None] - center[0]) / radius, (y[:, None] - center[1]) / radius
    u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    fine = SHAPES[shape](u, v).astype(np.float32)
    step = _OVERSAMPLING
    alpha = fine.reshape(len(y) // step, step, len(x) // step, step).mean((1, 3))
    x1, y1 = np.clip(low, 0, size)
    x2, y2 = np.clip(high, 0, size)
    window = alpha[y1 - low[1] : y2 - low[1], x1 - low[0] : x2 - low[0]]
    return window, slice(y1, y2), slice(x1, x2), float(alpha.sum())
