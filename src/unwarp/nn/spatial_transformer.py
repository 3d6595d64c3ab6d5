"""The spatial transformer module (arXiv 1506.02025, section 3)."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unwarp.checks import check_choice, check_image, check_positive, check_size, check_tensor
from unwarp.maps import LinearMap, Map
from unwarp.maps.chain import compose
from unwarp.sampling import MODES, paddings_of
from unwarp.transforms import Affine, Transform, check_transform
from unwarp.warping import warp

_LEASH_POINTS = 5


class Aligned(NamedTuple):
    """What a spatial transformer did: the warped image, the theta it predicted and the map that theta means."""

    image: Tensor
    theta: Tensor
    pull: Map


class SpatialTransformer(nn.Module):
    """Predicts a map from its input and reads the input through it; drops into any place of a network.

    Args:
        localization: a module from `[N, C, *in]` to theta `[N, P]`, or `[N, K, P]` for K outputs of each input.
        transform: what theta means.
        size: spatial size of the output; that of the input if None.
        mode: interpolation; see `unwarp.sample`.
        padding: what lies outside the input; see `unwarp.sample`.
        fill: the value outside for `padding="constant"`.
        antialias: take means where the map shrinks the input; see `unwarp.warp`.
        leash: weight of a pull back into the picture for maps that have left it altogether, whose own gradient is 0.
            It acts in the backward pass only: the output, and the gradient of maps that see the picture, stay as they
            are. 0 is none; 1 is a good value. A loss that is scaled, as for float16, does not scale it. Whether a map
            has left is judged at 5×5 points, between which one that shrinks the picture beyond that may hide it.
        window: width and height of the part of the input, around its centre, that the identity shows: each predicted
            map is applied after a zoom by this factor. A transformer that starts with the whole of a large picture has
            little to gain from looking closer, and may never learn to; with a window of 0.5 it has to look for its
            object from the start.
        jitter: in training, each predicted map is moved by a random affine map: this is the standard deviation of its
            shifts, in half extents of the output, of its angles and shears, and of the logarithms of its scales. What
            is always shown in the same pose is soon known by heart; 0.1 is a good value for few or simple pictures
            (a random shift of the origin: arXiv 1709.01889, section 3.4). 0 is none.

    Raises:
        TypeError, ValueError: for what is no module or transform, or words, sizes or weights that are not of this form.
    """

    def __init__(
        self,
        localization: nn.Module,
        transform: Transform,
        size: Sequence[int] | None = None,
        *,
        mode: str = "linear",
        padding: str | Sequence[str] = "zeros",
        fill: float = 0.0,
        antialias: bool = False,
        leash: float = 0.0,
        window: float = 1.0,
        jitter: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(localization, nn.Module):
            raise TypeError(f"localization: wanted a torch.nn.Module, got {localization!r}")
        check_transform(transform)
        check_choice("mode", mode, MODES)
        beyond = paddings_of(padding, transform.ndim)
        if not isinstance(fill, Real):
            raise TypeError(f"fill: wanted a number, got {type(fill).__name__}; `warp` takes one per channel")
        if not math.isfinite(fill):
            raise ValueError(f"fill: wanted a finite number, got {fill}")
        if fill != 0 and "constant" not in beyond:
            raise ValueError(f"fill: wanted padding='constant' with it, got padding {padding!r}")
        check_positive("leash", leash, allow_zero=True)
        check_positive("window", window)
        check_positive("jitter", jitter, allow_zero=True)
        if size is not None:
            check_size(size, transform.ndim)
        self.localization = localization
        self.transform = transform
        self.size = None if size is None else tuple(size)
        self.mode, self.padding, self.fill, self.antialias = mode, padding, float(fill), antialias
        self.leash, self.window, self.jitter = leash, window, jitter

    def forward(self, image: Tensor) -> Tensor:
        """The warped image `[N, C, *size]` (or `[N, K, C, *size]`) of `image [N, C, *in]`."""
        return self.align(image).image

    def align(self, image: Tensor) -> Aligned:
        """The warped image with the theta and the map behind it, to regularise or draw them."""
        theta, pull = self.locate(image)
        return Aligned(self.warp(image, pull), theta, pull)

    def locate(self, image: Tensor) -> tuple[Tensor, Map]:
        """Theta and the map predicted for `image [N, C, *in]`, without warping it."""
        check_image(image)
        return self.place(self.localization(image))

    def place(self, theta: Tensor, before: Map | None = None) -> tuple[Tensor, Map]:
        """`theta [N, P]` or `[N, K, P]`, on the leash, and the map that it means here, within the window.

        Args:
            theta: as predicted.
            before: what the image has been read through already; then the map is that of both, and so is the leash.
        """
        check_tensor("theta", theta)
        moves = self._random_moves(theta) if self.jitter > 0 and self.training else None
        pull = self._moved(theta, moves, before)
        # An exported program has no backward pass of ours to hold the leash.
        if self.leash > 0 and theta.requires_grad and not torch.compiler.is_exporting():
            theta = _AddGradient.apply(theta, self.leash * _distance_of_the_lost(pull))
            pull = self._moved(theta, moves, before)
        return theta, pull

    def to_map(self, theta: Tensor) -> Map:
        """What theta `[N, P]` or `[N, K, P]` means here: the map of the transform, after the zoom of the window."""
        pull = self.transform(theta)
        if self.window == 1:
            return pull
        zoom = torch.eye(pull.ndim, pull.ndim + 1, dtype=pull.dtype, device=pull.device) * self.window
        # Not `@`, which torch.compile and a strict torch.export do not trace.
        return compose(pull, LinearMap(zoom.expand(*pull.batch, -1, -1)))

    def _moved(self, theta: Tensor, moves: Map | None, before: Map | None) -> Map:
        pull = self.to_map(theta)
        pull = pull if moves is None else compose(pull, moves)
        return pull if before is None else compose(before, pull)

    def _random_moves(self, theta: Tensor) -> Map:
        affine = Affine(self.transform.ndim)
        noise = self.jitter * torch.randn(*theta.shape[:-1], affine.num_params, device=theta.device)
        components = [n.exp() if kind == "scale" else n for n, kind in zip(noise.unbind(-1), affine.kinds, strict=True)]
        return affine(affine.from_components(torch.stack(components, dim=-1)))

    def warp(self, image: Tensor, pull: Map) -> Tensor:
        """`image` read through `pull`, with this module's size, mode and padding."""
        how = {"mode": self.mode, "padding": self.padding, "fill": self.fill, "antialias": self.antialias}
        return warp(image, pull, self.size, **how)

    def extra_repr(self) -> str:
        """What a print of the module says besides its children."""
        return (
            f"size={self.size}, mode={self.mode}, padding={self.padding}, leash={self.leash}, window={self.window}, "
            f"jitter={self.jitter}"
        )


def _distance_of_the_lost(pull: Map) -> Tensor:
    """Mean squared distance outside the picture, summed over the maps that see nothing of it."""
    excess = (pull.grid((_LEASH_POINTS,) * pull.ndim).abs() - 1).clamp_min(0)
    squared = excess.square().sum(-1).flatten(len(pull.batch))
    lost = (squared > 0).all(-1)
    return torch.where(lost, squared.mean(-1), torch.zeros_like(squared[..., 0])).sum()


class _AddGradient(torch.autograd.Function):
    """Identity of its first argument; in the backward pass the second is added to the loss."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, loss: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0], torch.ones_like(ctx.saved_tensors[0])
