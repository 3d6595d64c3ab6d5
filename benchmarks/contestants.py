"""Ways to warp a batch by affine matrices, ours and others', that give the same numbers.

Each is a function of an image `[N, C, *in]` and normalised pull matrices `[N, D, D+1]`, with linear interpolation and
zeros outside. Those whose package is missing are left out.
"""

# Packages that may be missing, and that say little about their types.
# pyright: reportMissingImports=false, reportPrivateImportUsage=false, reportArgumentType=false, reportAttributeAccessIssue=false

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import unwarp
from unwarp.coordinates import matrix_in_pixels

Warp = Callable[[Tensor, Tensor], Tensor]
DIFFERENTIABLE = ("unwarp", "torch", "torch compiled", "kornia", "monai", "deepali", "interpol")


def contestants(ndim: int, *, compiled: bool) -> dict[str, Warp]:
    """Those that are installed and can do that many dimensions, ours first."""
    found: dict[str, Warp] = {"unwarp": _unwarp, "torch": _torch}
    if compiled:
        torch._dynamo.reset()
        found["torch compiled"] = torch.compile(_torch, dynamic=False)
    others: dict[str, tuple[str, Warp]] = {
        "kornia": ("kornia", _kornia),
        "monai": ("monai", _monai),
        "deepali": ("deepali", _deepali),
        "interpol": ("interpol", _interpol),
        "scipy": ("scipy", _scipy),
    }
    if ndim == 2:
        others["opencv"] = ("cv2", _opencv)
    return found | {name: warp for name, (package, warp) in others.items() if find_spec(package)}


def _unwarp(image: Tensor, matrix: Tensor) -> Tensor:
    return unwarp.warp(image, unwarp.LinearMap(matrix))


def _torch(image: Tensor, matrix: Tensor) -> Tensor:
    grid = F.affine_grid(matrix, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, align_corners=False)


def _kornia(image: Tensor, matrix: Tensor) -> Tensor:
    from kornia.geometry.transform import warp_affine, warp_affine3d

    push = torch.linalg.inv(_in_pixels(matrix, image.shape[2:]))[:, :-1]
    warp = warp_affine if image.ndim == 4 else warp_affine3d
    return warp(image, push, tuple(image.shape[2:]), align_corners=True)


def _monai(image: Tensor, matrix: Tensor) -> Tensor:
    from monai.networks.layers import AffineTransform

    layer = AffineTransform(image.shape[2:], normalized=True, align_corners=False, reverse_indexing=False)
    return layer(image, matrix)


def _deepali(image: Tensor, matrix: Tensor) -> Tensor:
    import deepali.core.functional as U
    from deepali.core import Grid

    grid = Grid(size=tuple(reversed(image.shape[2:])), align_corners=False)
    points = U.transform_points(matrix, grid.coords().unsqueeze(0).flatten(1, -2))
    return U.grid_sample(image, points.unflatten(1, image.shape[2:]), align_corners=False, padding="zeros")


def _interpol(image: Tensor, matrix: Tensor) -> Tensor:
    import interpol

    voxels = _reversed(_in_pixels(matrix, image.shape[2:]))
    grid = torch.stack([interpol.affine_grid(one, image.shape[2:]) for one in voxels])
    return interpol.grid_pull(image, grid, interpolation="linear", bound="zero", extrapolate=True)


def _scipy(image: Tensor, matrix: Tensor) -> Tensor:
    from scipy.ndimage import affine_transform

    voxels = _reversed(_in_pixels(matrix, image.shape[2:])).numpy()
    out = np.empty(image.shape, dtype=np.float32)
    for n, planes in enumerate(image.numpy()):
        for c, plane in enumerate(planes):
            linear, shift = voxels[n, :-1, :-1], voxels[n, :-1, -1]
            affine_transform(plane, linear, shift, output=out[n, c], order=1, mode="grid-constant")
    return torch.from_numpy(out)


def _opencv(image: Tensor, matrix: Tensor) -> Tensor:
    import cv2

    cv2.setNumThreads(torch.get_num_threads())
    pull = _in_pixels(matrix.double(), image.shape[2:])[:, :2].numpy()
    out = []
    # OpenCV's own layout, so that nothing is copied for it.
    for picture, one in zip(image.permute(0, 2, 3, 1).numpy(), pull, strict=True):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out.append(cv2.warpAffine(picture, one, (image.shape[3], image.shape[2]), flags=flags))
    return torch.from_numpy(np.stack(out).reshape(image.permute(0, 2, 3, 1).shape)).permute(0, 3, 1, 2)


def _in_pixels(matrix: Tensor, size: Sequence[int]) -> Tensor:
    return matrix_in_pixels(unwarp.LinearMap(matrix).homogeneous, size, size)


def _reversed(matrix: Tensor) -> Tensor:
    ndim = matrix.shape[-1] - 1
    order = [*range(ndim - 1, -1, -1), ndim]
    return matrix[:, order][:, :, order]
