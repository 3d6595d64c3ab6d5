"""The distortions of the spatial transformer paper (arXiv 1506.02025, section 4.1 and A.4), batched and reproducible.

The last one is that of the inverse-compositional paper (arXiv 1612.03897), as its code has it.

| name | what it does to a picture |
|---|---|
| r    | rotation, uniform in ±90° |
| rts  | rotation ±45°, scale 0.7 to 1.2, placed at random in a canvas 1.5 times as wide |
| p    | scale 0.75 to 1, then each corner moved along its diagonal by a normal of 5 px (of 28), projective |
| e    | scale 0.75 to 1, then a thin-plate spline over 4×4 points, each moved by a normal of 1.5 px (of 28) |
| tc   | placed at random in a canvas 60/28 times as wide, with patches of other pictures |
| h    | homography: corners moved by a normal of an eighth of the picture each, and by another one all together |

Lengths in pixels hold for pictures 28 wide, as MNIST's, and grow with the picture. Uniform unless a normal is named.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from unwarp.checks import check_choice, check_image, check_size
from unwarp.data.clutter import add_clutter
from unwarp.maps import LinearMap, Map
from unwarp.transforms import Affine, Rotation, ThinPlateSpline
from unwarp.warping import warp

DISTORTIONS = ("r", "rts", "p", "e", "tc", "h")
_CANVAS = {"r": 1.0, "rts": 42 / 28, "p": 1.0, "e": 1.0, "tc": 60 / 28, "h": 1.0}
# In half extents of the picture.
_CORNER_NOISE = 0.25
_PAPER_WIDTH = 28
_TRIES = 100
_CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


class Distorted(NamedTuple):
    """Distorted images `[N, C, *size]` float32, and the map that made them: `images = warp(clean, pull)`."""

    images: Tensor
    pull: Map


class Distortion:
    """One of the paper's distortions, for pictures of one size.

    Args:
        name: one of `DISTORTIONS`.
        in_size: (H, W) of the clean pictures.
        size: (H, W) of the canvas; if None the paper's, in proportion to `in_size`.
        bank: pictures `[M, C, *in_size]` to cut clutter from ("tc" only); the batch itself if None.
        patches: number of clutter patches.
        patch_size: their width in pixels; if None the paper's 6 of 28, in proportion.

    Raises:
        ValueError: for another name or size, a canvas too small for the picture, or patches larger than it.
    """

    def __init__(
        self,
        name: str,
        in_size: Sequence[int],
        *,
        size: Sequence[int] | None = None,
        bank: Tensor | None = None,
        patches: int = 6,
        patch_size: int | None = None,
    ) -> None:
        check_choice("distortion", name, DISTORTIONS)
        check_size(in_size, 2, "in_size")
        self.name, self.in_size = name, tuple(in_size)
        self.size = tuple(round(extent * _CANVAS[name]) for extent in in_size) if size is None else tuple(size)
        check_size(self.size, 2)
        if name == "tc" and any(out < extent for out, extent in zip(self.size, self.in_size, strict=True)):
            raise ValueError(f"size: wanted a canvas of at least {self.in_size} for 'tc', got {self.size}")
        self.unit = min(in_size) / _PAPER_WIDTH
        self.bank, self.patches = bank, patches
        self.patch_size = max(1, round(6 * self.unit)) if patch_size is None else patch_size
        if not 1 <= self.patch_size <= min(self.in_size):
            raise ValueError(
                f"patch_size: wanted 1 to {min(self.in_size)}, the pictures' extent, got {self.patch_size}"
            )

    def draw(self, count: int, generator: torch.Generator) -> Map:
        """`count` random maps from the canvas to the clean picture, on the generator's device."""
        return getattr(self, f"_draw_{self.name}")(count, generator)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Distorted:
        """Distort clean `images [N, C, *in_size]`, float32 in 0..1, each by a map of its own."""
        check_image(images)
        if tuple(images.shape[2:]) != self.in_size:
            raise ValueError(f"images: wanted pictures of {self.in_size}, got {list(images.shape)}")
        pull = self.draw(images.shape[0], generator)
        distorted = warp(images, pull, self.size)
        if self.name == "tc":
            if self.bank is not None:
                self.bank = self.bank.to(images.device)  # where it stays
            bank = images if self.bank is None else self.bank
            distorted = add_clutter(
                distorted, bank, patches=self.patches, patch_size=self.patch_size, generator=generator
            )
        return Distorted(distorted, pull)

    def _draw_r(self, count: int, generator: torch.Generator) -> Map:
        angle = _uniform((count, 1), -math.pi / 2, math.pi / 2, generator)
        return self._in_pixels(Rotation()(angle))

    def _draw_rts(self, count: int, generator: torch.Generator) -> Map:
        angle = _uniform((count, 1), -math.pi / 4, math.pi / 4, generator)
        scale = _uniform((count, 1), 0.7, 1.2, generator)
        # Anywhere in the canvas where the scaled picture, before its rotation, still lies inside.
        room = (self._extent(self.size, scale) - scale * self._extent(self.in_size, scale)).clamp_min(0) / 2
        shift = room * _uniform((count, 2), -1, 1, generator)
        turn = Rotation()(-angle)
        zoom = Affine()(Affine().identity.to(scale) / scale)
        move = torch.eye(3, device=scale.device).repeat(count, 1, 1)
        move[:, :2, 2] = -shift
        return self._in_pixels(zoom @ turn @ LinearMap(move[:, :2]))

    def _draw_p(self, count: int, generator: torch.Generator) -> Map:
        corners = _CORNERS.to(generator.device)
        half = self._extent(self.in_size, corners) / 2

        def moved(left: int) -> Tensor:
            scale = _uniform((left, 1, 1), 0.75, 1.0, generator)
            along = 5 * self.unit * _normal((left, 4, 1), generator)
            return (scale * half + along / math.sqrt(2)) * corners

        from_canvas = _draw_convex(count, moved) / (self._extent(self.size, corners) / 2)
        return _homography(from_canvas, corners.expand(count, 4, 2))

    def _draw_h(self, count: int, generator: torch.Generator) -> Map:
        corners = _CORNERS.to(generator.device)

        def moved(left: int) -> Tensor:
            noise = _normal((left, 4, 2), generator) + _normal((left, 1, 2), generator)
            return corners + _CORNER_NOISE * noise

        in_canvas = corners * self._extent(self.in_size, corners) / self._extent(self.size, corners)
        return _homography(in_canvas.expand(count, 4, 2), _draw_convex(count, moved))

    def _draw_e(self, count: int, generator: torch.Generator) -> Map:
        scale = _uniform((count, 1), 0.75, 1.0, generator)
        zoom = Affine()(Affine().identity.to(scale) / scale)
        return self._in_pixels(zoom) @ random_bends(count, self.size, 1.5 * self.unit, generator)

    def _draw_tc(self, count: int, generator: torch.Generator) -> Map:
        room = [out - extent for out, extent in zip(self.size, self.in_size, strict=True)][::-1]
        corner = torch.stack(
            [torch.randint(r + 1, (count,), generator=generator, device=generator.device) for r in room], dim=-1
        )
        shift = corner - torch.tensor(room, device=generator.device) / 2
        move = torch.eye(3, device=generator.device).repeat(count, 1, 1)
        move[:, :2, 2] = -shift
        return self._in_pixels(LinearMap(move[:, :2]))

    def _extent(self, size: Sequence[int], like: Tensor) -> Tensor:
        return torch.tensor(list(size)[::-1], dtype=like.dtype, device=like.device)

    def _in_pixels(self, centred: Map) -> Map:
        """A map between pixel coordinates with the centre of each picture at 0, as one between normalised ones."""
        assert isinstance(centred, LinearMap)
        matrix = centred.matrix
        outward = torch.cat([self._extent(self.size, matrix) / 2, matrix.new_ones(1)])
        inward = 2 / self._extent(self.in_size, matrix)
        return LinearMap(matrix * outward * inward.unsqueeze(-1))


def random_bends(count: int, size: Sequence[int], pixels: float, generator: torch.Generator) -> Map:
    """`count` thin-plate splines over 4×4 points of a picture of `size` (H, W), on the generator's device.

    Each point moves by a normal of `pixels`.
    """
    noise = pixels * _normal((count, 16, 2), generator)
    halves = torch.tensor(list(size)[::-1], dtype=noise.dtype, device=noise.device) / 2
    return _spline(generator.device)((noise / halves).flatten(1))


@cache
def _spline(device: torch.device) -> ThinPlateSpline:
    return ThinPlateSpline((4, 4)).to(device)


def _draw_convex(count: int, draw: Callable[[int], Tensor]) -> Tensor:
    """`count` convex quadrilaterals `[count, 4, 2]` of those that `draw` gives.

    Corners that cross make a picture no camera could take; they are drawn again.
    """
    found = draw(count)
    for _ in range(_TRIES):
        crossed = ~_convex(found)
        if not crossed.any():
            return found
        found[crossed] = draw(int(crossed.sum()))
    raise RuntimeError(f"distortion: no convex quadrilateral in {_TRIES} draws")


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _convex(corners: Tensor) -> Tensor:
    edges = corners.roll(-1, dims=1) - corners
    following = edges.roll(-1, dims=1)
    return (edges[..., 0] * following[..., 1] - edges[..., 1] * following[..., 0] > 0).all(-1)


def _homography(source: Tensor, target: Tensor) -> LinearMap:
    """The projective maps that take four points `source [N, 4, 2]` to `target [N, 4, 2]`, with w > 0 between them."""
    x, y = source.unbind(-1)
    u, v = target.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    for_u = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], dim=-1)
    for_v = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], dim=-1)
    system = torch.cat([for_u, for_v], dim=1).double()
    entries = torch.linalg.solve(system, torch.cat([u, v], dim=1).double())
    matrix = torch.cat([entries, torch.ones_like(entries[:, :1])], dim=1).unflatten(1, (3, 3))
    centre = torch.cat([source.mean(1), torch.ones_like(source[:, 0, :1])], dim=1).double()
    sign = (matrix[:, 2] * centre).sum(-1).sign()
    return LinearMap((matrix * sign[:, None, None]).to(source.dtype))
