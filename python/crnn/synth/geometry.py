"""How a flat word comes to lie in a photograph: bent, turned, seen from the side, cropped.

A `View` maps points of the canvas on which the word was drawn to points of the crop:

    canvas --bend--> (arc or wave) --A--> (turn, shear, stretch) --P--> (perspective) --> crop

The crop is the upright box around the word's mapped outline, as people mark words. Each mask is
then resampled once, through the inverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crnn.synth.glyphs import Mask

Grey = NDArray[np.float32]  # [height, width], 0 to 1
Points = NDArray[np.float64]  # [count, 2], x and y
_CELLS = (14, 2)  # of the mesh that follows a bend, along and across the word


@dataclass(frozen=True)
class Pose:
    """The numbers behind a `View`; all zero and `stretch` 1 is a flat, frontal word.

    Attributes:
        arc: radians that the bent baseline subtends; positive arches up.
        upright: an arc moves the letters up and down only, instead of turning them.
        tilt: of the word, in radians.
        shear: x moved per unit of y.
        stretch: of the width against the height.
        vanish_x, vanish_y: how much nearer the left end (the upper edge) is than the middle, as a
            share of the distance; their magnitudes must add up to less than 1.
    """

    arc: float = 0.0
    upright: bool = False
    tilt: float = 0.0
    shear: float = 0.0
    stretch: float = 1.0
    vanish_x: float = 0.0
    vanish_y: float = 0.0


class View:
    """The map from a canvas to a crop of given height.

    Args:
        pose: how the word lies.
        box: (left, top, right, bottom) of the word on its canvas.
        margins: (left, top, right, bottom) pixels of the canvas kept around it; may be negative.
        unit: pixels the box's height becomes, margins aside.
        limit: the largest width and height of the crop in pixels; a larger one is scaled down.
    """

    def __init__(
        self,
        pose: Pose,
        box: tuple[float, float, float, float],
        margins: NDArray[np.float64],
        unit: float,
        limit: tuple[int, int] = (400, 96),
    ) -> None:
        left, top, right, bottom = box
        self._centre = np.array([(left + right) / 2, (top + bottom) / 2])
        self._half = np.array([max(right - left, 1.0) / 2, max(bottom - top, 1.0) / 2])
        self._pose = pose
        x = np.linspace(left - margins[0], right + margins[2], 9)
        upper, lower = np.full(9, top - margins[1]), np.full(9, bottom + margins[3])
        outline = np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)])
        self._linear = self._matrix()
        flat = _bend(outline - self._centre, self._half[0], pose) @ self._linear.T
        # Shares of the word's own extent, so that none of it comes near the vanishing line.
        self._perspective = np.array([pose.vanish_x, pose.vanish_y]) / np.maximum(
            np.abs(flat).max(axis=0), 1e-6
        )
        seen = flat / (1 + flat @ self._perspective)[:, None]
        self._corner, span = seen.min(axis=0), np.maximum(np.ptp(seen, axis=0), 1.0)
        scale = min(unit / (2 * self._half[1]), limit[0] / span[0], limit[1] / span[1])
        size = np.maximum(np.rint(span * scale), (6, 6))
        self._scale = size / span
        #: width and height of the crop in pixels
        self.size = (int(size[0]), int(size[1]))
        #: pixels of the crop for one of the canvas
        self.scale = float(scale)

    def warp(self, mask: Mask) -> Grey:
        """`mask` as the crop shows it, 0 to 1; beyond its edges lies nothing."""
        image = Image.fromarray(mask)
        reduction = max(1, int(0.75 / self.scale))  # bilinear alone would skip pixels
        if reduction > 1:
            image = image.reduce(reduction)
        if self._pose.arc:
            data = self._mesh(reduction)
            out = image.transform(self.size, Image.Transform.MESH, data, Image.Resampling.BILINEAR)
        else:
            out = image.transform(
                self.size,
                Image.Transform.PERSPECTIVE,
                self._coefficients(reduction),
                Image.Resampling.BILINEAR,
            )
        return np.asarray(np.asarray(out, np.float32) * np.float32(1 / 255))

    def _matrix(self) -> NDArray[np.float64]:
        cos, sin = np.cos(self._pose.tilt), np.sin(self._pose.tilt)
        turn = np.array([[cos, sin], [-sin, cos]])
        return np.asarray(turn @ np.array([[self._pose.stretch, self._pose.shear], [0.0, 1.0]]))

    def _backward(self, pixels: Points) -> Points:
        """Points of the canvas under `pixels` of the crop."""
        seen = pixels / self._scale + self._corner
        flat = seen / np.maximum(1 - seen @ self._perspective, 0.05)[:, None]
        bent = flat @ np.linalg.inv(self._linear).T
        return np.asarray(_unbend(bent, self._half[0], self._pose) + self._centre)

    def _coefficients(self, reduction: int) -> tuple[float, ...]:
        """The homography from crop to canvas as Pillow takes it: 8 numbers, the ninth 1."""
        to_seen = np.array(
            [
                [1 / self._scale[0], 0.0, self._corner[0]],
                [0.0, 1 / self._scale[1], self._corner[1]],
                [0.0, 0.0, 1.0],
            ]
        )
        to_flat = np.eye(3)
        to_flat[2, :2] = -self._perspective
        to_canvas = np.eye(3)
        to_canvas[:2, :2] = np.linalg.inv(self._linear)
        shift = np.eye(3)
        shift[:2, 2] = self._centre
        whole = np.diag([1 / reduction, 1 / reduction, 1.0]) @ shift @ to_canvas @ to_flat @ to_seen
        return tuple(float(v) for v in (whole / whole[2, 2]).ravel()[:8])

    def _mesh(self, reduction: int) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
        across = np.unique(np.rint(np.linspace(0, self.size[0], _CELLS[0] + 1)).astype(int))
        down = np.unique(np.rint(np.linspace(0, self.size[1], _CELLS[1] + 1)).astype(int))
        x, y = np.meshgrid(across.astype(np.float64), down.astype(np.float64))
        source = self._backward(np.stack([x.ravel(), y.ravel()], 1)) / reduction
        at = source.reshape(len(down), len(across), 2)
        cells = []
        for j in range(len(down) - 1):
            for i in range(len(across) - 1):
                box = (across[i], down[j], across[i + 1], down[j + 1])
                quad = (*at[j, i], *at[j + 1, i], *at[j + 1, i + 1], *at[j, i + 1])
                cells.append((tuple(int(v) for v in box), tuple(float(v) for v in quad)))
        return cells


def _bend(points: Points, half_width: float, pose: Pose) -> Points:
    """Points around the middle of a straight word to points around that of a bent one."""
    if not pose.arc:
        return points
    x, y = points[:, 0], points[:, 1]
    if pose.upright:
        return np.stack([x, y + _sag(x, half_width, pose.arc)], 1)
    radius = 2 * half_width / pose.arc  # signed: a negative one has its centre above the word
    angle = x / radius
    return np.stack([(radius - y) * np.sin(angle), radius - (radius - y) * np.cos(angle)], 1)


def _unbend(points: Points, half_width: float, pose: Pose) -> Points:
    """The inverse of `_bend`."""
    if not pose.arc:
        return points
    x, y = points[:, 0], points[:, 1]
    if pose.upright:
        return np.stack([x, y - _sag(x, half_width, pose.arc)], 1)
    radius = 2 * half_width / pose.arc
    sign = np.sign(radius)
    angle = np.arctan2(sign * x, sign * (radius - y))
    return np.stack([radius * angle, radius - sign * np.hypot(x, radius - y)], 1)


def _sag(x: NDArray[np.float64], half_width: float, arc: float) -> NDArray[np.float64]:
    """How far an upright arc lowers the letters towards the ends: a parabola."""
    return np.asarray((x / half_width) ** 2 * half_width * arc / 4)
