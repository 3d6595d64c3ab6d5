"""Pictures as solid bodies, turned and placed at random in a volume (arXiv 1506.02025, A.3)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unwarp.checks import check_image, check_size
from unwarp.data.distort import Distorted
from unwarp.maps import LinearMap, Map
from unwarp.transforms import Rotation
from unwarp.warping import warp

# As a picture of 28×28 in the paper's volume of 60×60×60.
_WIDTH = 28 / 60
# Of the body, as a share of its picture's width; the paper does not say.
_THICKNESS = 1 / 3
_SLICES = 8


class Extrusion:
    """Makes a body of each picture, turns it about the horizontal and the vertical axis, and places it in a cube.

    Both angles are uniform in ±`angle`; the places are uniform where the unturned body with its picture's width along
    all axes lies inside. The larger side of the picture takes 28 / 60 of the cube's edge.

    Args:
        in_size: (H, W) of the pictures.
        edge: of the cube, in voxels.
        angle: largest, in radians.

    Raises:
        ValueError: for sizes that are none.
    """

    def __init__(self, in_size: Sequence[int], *, edge: int = 32, angle: float = math.pi / 4) -> None:
        check_size(in_size, 2, "in_size")
        check_size((edge,), 1, "edge")
        self.in_size, self.size, self.angle = tuple(in_size), (edge,) * 3, angle

    def draw(self, count: int, generator: torch.Generator) -> Map:
        """`count` random maps from the cube to the body's own box, on the generator's device."""
        device = generator.device
        angles = self.angle * (2 * torch.rand(count, 2, generator=generator, device=device) - 1)
        about_x, about_y = (torch.zeros(count, 3, device=device) for _ in range(2))
        about_x[:, 0], about_y[:, 1] = angles.unbind(1)
        turn = Rotation(3)(about_x) @ Rotation(3)(about_y)
        shift = (1 - _WIDTH) * (2 * torch.rand(count, 3, generator=generator, device=device) - 1)
        move = torch.eye(3, 4, device=device).repeat(count, 1, 1)
        move[..., -1] = -shift
        height, width = (_WIDTH * extent / max(self.in_size) for extent in self.in_size)
        halves = torch.tensor([width, height, _WIDTH * _THICKNESS], device=device)
        box = torch.cat([torch.diag(1 / halves), torch.zeros(3, 1, device=device)], dim=1)
        return LinearMap(box.expand(count, -1, -1)) @ turn @ LinearMap(move)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Distorted:
        """Volumes `[N, C, edge, edge, edge]` of clean `images [N, C, *in_size]`, float32 in 0..1."""
        check_image(images)
        if tuple(images.shape[2:]) != self.in_size:
            raise ValueError(f"images: wanted pictures of {self.in_size}, got {list(images.shape)}")
        pull = self.draw(images.shape[0], generator)
        body = images.unsqueeze(2).expand(-1, -1, _SLICES, -1, -1)
        return Distorted(warp(body, pull, self.size), pull)
