"""What to watch while a spatial transformer trains."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unwarp.coordinates import extents
from unwarp.maps import Map, check_map
from unwarp.nn.probabilistic import ProbabilisticLocalization
from unwarp.nn.spatial_transformer import SpatialTransformer

_COARSE = 8


class CollapseWarning(UserWarning):
    """A spatial transformer shows nothing of its input any more."""


@dataclass(frozen=True)
class Diagnosis:
    """A batch of maps in numbers, each of the shape of the map's batch.

    Attributes:
        outside: share of the samples that lie outside the image, 0 to 1.
        scale: extent of the input seen, relative to the identity; under 1 is zoomed in.
        rotation: mean rotation in radians, -π to π in 2-D; in 3-D the size of the rotation, 0 in 1-D. It is that of the
            coordinates, whose units are half extents; see `mean_rotation` for pictures that are not square.
        folds: share of the samples where the map turns the image inside out (det J ≤ 0).
    """

    outside: Tensor
    scale: Tensor
    rotation: Tensor
    folds: Tensor

    def means(self) -> dict[str, Tensor]:
        """Batch means, to log; the mean of |rotation| is what says how much is turned."""
        return {
            "outside": self.outside.mean(),
            "scale": self.scale.mean(),
            "rotation": self.rotation.abs().mean(),
            "folds": self.folds.mean(),
        }


@torch.no_grad()
def diagnose(pull: Map, size: Sequence[int]) -> Diagnosis:
    """What a map does to an output of that size: what it misses, its scale and rotation, and where it folds."""
    check_map("pull", pull)
    batch = len(pull.batch)
    jacobian = pull.jacobian(pull.centers(size).flatten(batch, -2))
    determinant = torch.linalg.det(jacobian)
    coordinates = pull.grid(size).flatten(batch, -2)
    # Written so that a coordinate that is no number counts as outside.
    inside = (coordinates.abs() <= 1).all(-1)
    return Diagnosis(
        outside=1 - inside.to(pull.dtype).mean(-1),
        scale=determinant.abs().mean(-1) ** (1 / pull.ndim),
        rotation=_angle(jacobian.mean(-3)),
        folds=(determinant <= 0).to(pull.dtype).mean(-1),
    )


@torch.no_grad()
def mean_rotation(pull: Map, size: Sequence[int]) -> Tensor:
    """The mean rotation, as in `Diagnosis`, in pixels of an input and an output of one shape, `size`; `[*batch]`."""
    check_map("pull", pull)
    centers = pull.centers((_COARSE,) * pull.ndim).flatten(len(pull.batch), -2)
    extent = extents(centers, size)
    return _angle(pull.jacobian(centers).mean(-3) * (extent.unsqueeze(-1) / extent))


@contextmanager
def watch(network: nn.Module) -> Iterator[dict[str, list[Map]]]:
    """The maps that the spatial transformers in a network predict while the context lasts, whatever their depth.

    Yields:
        For each `SpatialTransformer` in `network`, by its name there ("" for the network itself), a map for each time
        it was called; cut off from the graph. Of a predicted distribution it is that of the mean.
    """
    maps: dict[str, list[Map]] = {}

    def keep(transformer: SpatialTransformer, found: list[Map]) -> Callable[..., None]:
        return lambda localization, inputs, theta: found.append(transformer.to_map(theta).detach())

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, SpatialTransformer):
            maps[name] = []
            predicts = module.localization
            if isinstance(predicts, ProbabilisticLocalization):
                predicts = predicts.localization.head
            hooks.append(predicts.register_forward_hook(keep(module, maps[name])))
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def warn_if_collapsed(image: Tensor, warped: Tensor, diagnosis: Diagnosis, *, share: float = 0.99) -> bool:
    """Warn with `CollapseWarning`, and return True, if the warped batch shows nothing of the images.

    That is: all samples outside, or an output that is constant though its input is not, for at least that share of it.
    """
    if image.shape[0] == 0:
        return False
    lost = diagnosis.outside >= 1
    flat = _is_flat(warped.flatten(len(diagnosis.outside.shape) + 1))
    blank = flat & ~_is_flat(image.flatten(2)).reshape(-1, *(1,) * (flat.ndim - 1))
    collapsed = (lost | blank).to(torch.float32).mean().item()
    if collapsed < share:
        return False
    warnings.warn(
        f"the spatial transformer has collapsed: {collapsed:.0%} of its outputs show nothing of their image "
        f"(samples outside {diagnosis.outside.mean().item():.0%}, scale {diagnosis.scale.mean().item():.3g}); "
        "lower the learning rate of the localization network, bound theta, or give the transformer a leash",
        CollapseWarning,
        stacklevel=2,
    )
    return True


def _is_flat(values: Tensor) -> Tensor:
    """Whether each channel of `values [..., C, Q]` is of one value."""
    return (values.float().amax(-1) - values.float().amin(-1) <= 1e-6).all(-1)


def _angle(jacobian: Tensor) -> Tensor:
    if jacobian.shape[-1] == 1:
        return torch.zeros_like(jacobian[..., 0, 0])
    if jacobian.shape[-1] == 2:
        return torch.atan2(jacobian[..., 1, 0] - jacobian[..., 0, 1], jacobian[..., 0, 0] + jacobian[..., 1, 1])
    left, _, right = torch.linalg.svd(torch.nan_to_num(jacobian))
    trace = (left @ right).diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.acos(((trace - 1) / 2).clamp(-1, 1))
