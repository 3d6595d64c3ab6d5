"""Losses on distances between features."""

from torch import Tensor

from unwarp.checks import check_positive, check_tensor


def triplet_hinge(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """Mean of `max(0, |anchor - positive|² - |anchor - negative|² + margin)`; scalar (arXiv 1506.02025, section 4.5).

    Args:
        anchor: features `[N, F]`.
        positive: features `[N, F]` that should be nearer to the anchor, by the margin ...
        negative: ... than these, `[N, F]`.
        margin: 0 or more.

    Raises:
        TypeError, ValueError: unless all three are tensors of the same shape, and the margin is no less than 0.
    """
    for name, features in (("anchor", anchor), ("positive", positive), ("negative", negative)):
        check_tensor(name, features)
    check_positive("margin", margin, allow_zero=True)
    if not anchor.shape == positive.shape == negative.shape:
        shapes = ", ".join(str(list(features.shape)) for features in (anchor, positive, negative))
        raise ValueError(f"anchor, positive, negative: wanted features of one shape [N, F], got {shapes}")
    near, far = ((anchor - other).square().sum(-1) for other in (positive, negative))
    return (near - far + margin).clamp_min(0).mean()
