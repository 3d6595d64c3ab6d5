import pytest
import torch

from unwarp.losses import triplet_hinge


def test_it_is_torchs_with_squared_distances() -> None:
    anchor, positive, negative = torch.randn(3, 5, 7, dtype=torch.float64).unbind(0)
    reference = torch.nn.TripletMarginWithDistanceLoss(
        distance_function=lambda a, b: (a - b).square().sum(1), margin=0.7
    )
    torch.testing.assert_close(triplet_hinge(anchor, positive, negative, 0.7), reference(anchor, positive, negative))


def test_nothing_is_asked_once_the_margin_is_kept() -> None:
    anchor = torch.zeros(2, 3, requires_grad=True)
    loss = triplet_hinge(anchor, torch.full((2, 3), 0.1), torch.ones(2, 3))
    assert loss == 0
    assert torch.autograd.grad(loss, anchor)[0].abs().sum() == 0


def test_features_must_fit() -> None:
    with pytest.raises(ValueError, match="^anchor, positive, negative: wanted features of one shape"):
        triplet_hinge(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(1, 3))
