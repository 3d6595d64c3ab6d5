"""Ways to warp a batch, ours and others', that give the same numbers.

Each is a function of an image `[N, C, *in]`, what the kind of warp is given (normalised pull matrices `[N, D, D+1]`, if
nothing else is said) and the size of the output, with linear interpolation and zeros outside (B-splines: reflection).
Those whose package is missing are left out.
"""

# Packages that may be missing, and that say little about their types.
# pyright: reportMissingImports=false, reportPrivateImportUsage=false, reportArgumentType=false, reportAttributeAccessIssue=false

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import unwarp
from unwarp.coordinates import identity_grid, matrix_in_pixels

Size = Sequence[int]
Warp = Callable[[Tensor, Tensor, Size], Tensor]
DIFFERENTIABLE = ("unwarp", "torch", "torch compiled", "kornia", "monai", "deepali", "interpol")


def contestants(kind: str, ndim: int, *, compiled: bool) -> dict[str, Warp]:
    """Those that are installed and can do that kind of warp in that many dimensions, ours first."""
    packages: dict[str, tuple[str, Warp]] = {}
    if kind == "affine":
        found: dict[str, Warp] = {"unwarp": _unwarp, "torch": _torch}
        packages["scipy"] = ("scipy", _scipy)
        if ndim > 1:
            packages |= {"kornia": ("kornia", _kornia), "monai": ("monai", _monai)}
            packages |= {"deepali": ("deepali", _deepali), "interpol": ("interpol", _interpol)}
        if ndim == 2:
            packages["opencv"] = ("cv2", _opencv)
    elif kind == "crops":
        found = {"unwarp": _unwarp_crops, "torch": _torch_crops}
    elif kind == "homography":
        found = {"unwarp": _unwarp, "torch": _torch_homography}
        packages = {"kornia": ("kornia", _kornia_homography), "opencv": ("cv2", _opencv)}
    elif kind == "B-spline":
        found = {"unwarp": _unwarp_cubic}  # torch has none
        packages = {"scipy": ("scipy", _scipy_cubic), "interpol": ("interpol", _interpol_cubic)}
    elif kind == "spline":
        found = {"unwarp": _unwarp_spline, "torch": _torch_spline}
    else:
        found = {"unwarp": _unwarp_shrunk, "torch": _torch_shrunk}
    if compiled and "torch" in found:
        torch._dynamo.reset()
        found["torch compiled"] = torch.compile(found["torch"], dynamic=False)
    return found | {name: warp for name, (package, warp) in packages.items() if find_spec(package)}


def _unwarp(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    return unwarp.warp(image, unwarp.LinearMap(matrix), size)


def _torch(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    if image.ndim == 3:  # a line is a picture one pixel high
        scale, shift = matrix.split(1, dim=-1)
        along = torch.cat([scale, torch.zeros_like(scale), shift], dim=-1)
        matrix = torch.cat([along, _upright(matrix.device).expand(len(matrix), 1, 3)], dim=1)
        return _torch(image.unsqueeze(2), matrix, (1, *size)).squeeze(2)
    grid = F.affine_grid(matrix, [*image.shape[:2], *size], align_corners=False)
    return F.grid_sample(image, grid, align_corners=False)


@cache
def _upright(device: torch.device) -> Tensor:
    return torch.tensor([0.0, 1, 0], device=device)


def _unwarp_crops(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    return unwarp.warp(image, unwarp.LinearMap(matrix), size)  # matrix [N, K, D, D+1]


def _torch_crops(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    # All crops of a picture below each other in one grid, so that it is not copied.
    count, crops = matrix.shape[:2]
    grid = F.affine_grid(matrix.flatten(0, 1), [count * crops, 1, *size], align_corners=False)
    below = F.grid_sample(image, grid.view(count, crops * size[0], size[1], 2), align_corners=False)
    return below.unflatten(2, (crops, size[0])).movedim(2, 1)


def _torch_homography(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    points = F.pad(identity_grid(size, device=image.device).flatten(0, -2), (0, 1), value=1.0) @ matrix.transpose(1, 2)
    grid = (points[..., :-1] / points[..., -1:]).unflatten(1, tuple(size))
    return F.grid_sample(image, grid, align_corners=False)


def _kornia_homography(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    from kornia.geometry.transform import warp_perspective

    return warp_perspective(image, torch.linalg.inv(_in_pixels(matrix, image.shape[2:])), size, align_corners=True)


@cache
def _spline(device: torch.device) -> unwarp.ThinPlateSpline:
    return unwarp.ThinPlateSpline((4, 4)).to(device)


def _unwarp_spline(image: Tensor, theta: Tensor, size: Size) -> Tensor:
    return unwarp.warp(image, _spline(theta.device)(theta), size)


def _torch_spline(image: Tensor, theta: Tensor, size: Size) -> Tensor:
    points, basis = _basis(tuple(size), theta.device)
    grid = (points + basis @ theta.unflatten(1, (-1, 2))).unflatten(1, tuple(size))
    return F.grid_sample(image, grid, align_corners=False)


@cache
def _basis(size: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Samples `[H W, 2]`, and how far each goes with each control point, `[H W, L]`: kept, as the points are fixed."""
    points, spline = identity_grid(size, device=device).flatten(0, -2), _spline(device)
    moved = torch.eye(spline.num_params // 2, device=device).repeat_interleave(2, dim=1)
    return points, (spline(moved)(points.unsqueeze(0)) - points)[..., 0].T.contiguous()


def _unwarp_shrunk(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    return unwarp.warp(image, unwarp.LinearMap(matrix), size, antialias=True)


def _torch_shrunk(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    # As many samples as pixels are read, then their means.
    shrink = image.shape[-1] // size[-1]
    fine = _torch(image, matrix, [extent * shrink for extent in size])
    return F.avg_pool2d(fine, shrink)


def _kornia(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    from kornia.geometry.transform import warp_affine, warp_affine3d

    push = torch.linalg.inv(_in_pixels(matrix, image.shape[2:]))[:, :-1]
    warp = warp_affine if image.ndim == 4 else warp_affine3d
    return warp(image, push, tuple(image.shape[2:]), align_corners=True)


def _monai(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    from monai.networks.layers import AffineTransform

    layer = AffineTransform(image.shape[2:], normalized=True, align_corners=False, reverse_indexing=False)
    return layer(image, matrix)


def _deepali(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    import deepali.core.functional as U
    from deepali.core import Grid

    grid = Grid(size=tuple(reversed(image.shape[2:])), align_corners=False)
    points = U.transform_points(matrix, grid.coords().unsqueeze(0).flatten(1, -2))
    return U.grid_sample(image, points.unflatten(1, image.shape[2:]), align_corners=False, padding="zeros")


def _interpol(
    image: Tensor,
    matrix: Tensor,
    size: Size,
    interpolation: str = "linear",
    bound: str = "zero",
    prefilter: bool = False,
) -> Tensor:
    import interpol

    voxels = _reversed(_in_pixels(matrix, image.shape[2:]))
    grid = torch.stack([interpol.affine_grid(one, image.shape[2:]) for one in voxels])
    return interpol.grid_pull(
        image, grid, interpolation=interpolation, bound=bound, extrapolate=True, prefilter=prefilter
    )


def _unwarp_cubic(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    return unwarp.warp(image, unwarp.LinearMap(matrix), size, mode="spline3", padding="reflection")


def _interpol_cubic(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    return _interpol(image, matrix, size, "cubic", "dct2", True)


def _scipy_cubic(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    return _scipy(image, matrix, size, 3, "reflect")


def _scipy(image: Tensor, matrix: Tensor, size: Size, order: int = 1, mode: str = "grid-constant") -> Tensor:
    from scipy.ndimage import affine_transform

    voxels = _reversed(_in_pixels(matrix, image.shape[2:])).numpy()
    out = np.empty(image.shape, dtype=np.float32)
    for n, planes in enumerate(image.numpy()):
        for c, plane in enumerate(planes):
            linear, shift = voxels[n, :-1, :-1], voxels[n, :-1, -1]
            affine_transform(plane, linear, shift, output=out[n, c], order=order, mode=mode)
    return torch.from_numpy(out)


def _opencv(image: Tensor, matrix: Tensor, size: Size) -> Tensor:
    import cv2

    cv2.setNumThreads(torch.get_num_threads())
    pull = _in_pixels(matrix.double(), image.shape[2:]).numpy()
    affine, width_and_height = matrix.shape[1] == 2, (image.shape[3], image.shape[2])
    # OpenCV's own layout, so that nothing is copied for it.
    pictures = image.permute(0, 2, 3, 1).numpy()
    out = np.empty(pictures.shape, dtype=np.float32)
    for picture, one, result in zip(pictures, pull, out, strict=True):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        if affine:
            cv2.warpAffine(picture, one[:2], width_and_height, dst=result, flags=flags)
        else:
            cv2.warpPerspective(picture, one, width_and_height, dst=result, flags=flags)
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def _in_pixels(matrix: Tensor, size: Size) -> Tensor:
    return matrix_in_pixels(unwarp.LinearMap(matrix).homogeneous, size, size)


def _reversed(matrix: Tensor) -> Tensor:
    ndim = matrix.shape[-1] - 1
    order = [*range(ndim - 1, -1, -1), ndim]
    return matrix[:, order][:, :, order]
