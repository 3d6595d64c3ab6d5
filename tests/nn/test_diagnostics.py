import math

import pytest
import torch
from torch import nn

from unwarp.maps import LinearMap
from unwarp.models import build_model
from unwarp.nn import (
    Cascade,
    CollapseWarning,
    SpatialTransformer,
    convolutional,
    diagnose,
    mean_rotation,
    warn_if_collapsed,
    watch,
)
from unwarp.transforms import Affine, Attention, Similarity, ThinPlateSpline, Translation
from unwarp.warping import warp


def test_reads_scale_and_rotation_of_similarities() -> None:
    theta = torch.tensor([[0.5, 0.3, 0.0, 0.0], [2.0, -3.0, 0.4, 0.0]])
    found = diagnose(Similarity()(theta), (7, 9))
    torch.testing.assert_close(found.scale, theta[:, 0])
    torch.testing.assert_close(found.rotation, theta[:, 1])
    assert (found.folds == 0).all()


def test_the_mean_rotation_is_in_pixels_however_wide_the_picture_is() -> None:
    angles = torch.tensor([[0.5, 0.3], [-2.0, 1.0]])
    size = (20, 60)
    rotations = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], -1).unflatten(-1, (2, 2))
    extent = torch.tensor([60.0, 20.0])
    pull = LinearMap(torch.cat([rotations * extent / extent[:, None], torch.zeros(2, 2, 2, 1)], -1))
    torch.testing.assert_close(mean_rotation(pull, size), angles)
    assert (diagnose(pull, size).rotation - angles).abs().min() > 0.05


def test_counts_what_is_outside() -> None:
    shifts = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.5, 0.0], [float("nan"), 0.0]])
    found = diagnose(Translation()(shifts), (10, 10))
    torch.testing.assert_close(found.outside, torch.tensor([0.0, 0.5, 1.0, 1.0]))


def test_finds_mirrored_maps_and_local_folds() -> None:
    mirror = LinearMap(torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]]))
    assert diagnose(mirror, (5, 5)).folds.item() == 1
    theta = torch.zeros(1, 4, 4, 2)
    theta[0, 1, 1, 0] = 1.6  # one point pushed past its neighbours
    folds = diagnose(ThinPlateSpline()(theta.flatten(1)), (40, 40)).folds.item()
    assert 0 < folds < 0.5


def test_an_affine_map_in_one_dimension_has_a_scale() -> None:
    found = diagnose(Affine(1)(torch.tensor([[0.25, 0.0]])), (9,))
    assert found.scale.item() == pytest.approx(0.25)
    assert found.rotation.item() == 0


@pytest.mark.parametrize("theta", [[0.5, 4.0, 0.0], [1e-8, 0.1, 0.1]], ids=["outside", "shrunk to a point"])
@pytest.mark.parametrize("channels", [1, 3])
def test_warns_of_a_collapse(theta: list[float], channels: int) -> None:
    image = torch.rand(3, channels, 8, 8)
    pull = Attention()(torch.tensor([theta] * 3))
    with pytest.warns(CollapseWarning, match="collapsed"):
        assert warn_if_collapsed(image, warp(image, pull), diagnose(pull, (8, 8)))


def test_is_silent_while_something_is_seen() -> None:
    image = torch.rand(4, 1, 8, 8)
    pull = Attention()(torch.tensor([[0.5, 4.0, 0.0]] * 3 + [[1.0, 0.0, 0.0]]))
    assert not warn_if_collapsed(image, warp(image, pull), diagnose(pull, (8, 8)))
    blank = torch.zeros(4, 1, 8, 8)
    identity = Attention()(torch.tensor([[1.0, 0.0, 0.0]] * 4))
    assert not warn_if_collapsed(blank, blank, diagnose(identity, (8, 8)))
    assert math.isclose(diagnose(identity, (8, 8)).means()["scale"].item(), 1)
    image = torch.cat([image, torch.zeros(4, 1, 8, 8)], 1)
    image[:, 1, 0, 0] = 1  # a channel with nothing in the crop, beside one with much
    crop = Attention()(torch.tensor([[0.5, 0.0, 0.0]] * 4))
    assert not warn_if_collapsed(image, warp(image, crop), diagnose(crop, (8, 8)))


def test_every_transformer_of_a_network_can_be_watched() -> None:
    def transformer(window: float) -> SpatialTransformer:
        return SpatialTransformer(convolutional((1, 8, 8), Similarity()), Similarity(), window=window)

    network = nn.Sequential(transformer(0.5), nn.Conv2d(1, 1, 3, padding=1), nn.Sequential(transformer(1.0)))
    image = torch.rand(3, 1, 8, 8)
    with watch(network) as maps:
        network(image)
        network(image)
    network(image)
    assert {name: len(found) for name, found in maps.items()} == {"0": 2, "2.0": 2}
    for name, scale in (("0", 0.5), ("2.0", 1.0)):
        torch.testing.assert_close(diagnose(maps[name][0], (4, 4)).scale, torch.full((3,), scale))


def test_a_cascade_can_be_watched_too() -> None:
    cascade = Cascade([SpatialTransformer(convolutional((1, 8, 8), Affine()), Affine())], passes=3)
    with watch(cascade) as maps:
        cascade(torch.rand(2, 1, 8, 8))
    assert [pull.batch for pull in maps["transformers.0"]] == [(2,)] * 3


def test_a_probabilistic_transformer_can_be_watched() -> None:
    network = build_model("pst-convnet", (1, 16, 16), 10)
    with watch(network) as maps:
        network.eval()(torch.rand(2, 1, 16, 16))
    ((pull,),) = maps.values()
    assert pull.batch == (2,)


def test_what_is_watched_is_cut_off_from_learned_control_points_too() -> None:
    transform = ThinPlateSpline((3, 3), learned=True)
    module = SpatialTransformer(convolutional((1, 12, 12), transform), transform)
    with watch(module) as maps:
        module(torch.rand(2, 1, 12, 12))
    assert not maps[""][0].grid((3, 3)).requires_grad


def test_the_mean_of_rotations_to_both_sides_is_that_of_how_much_is_turned() -> None:
    theta = torch.tensor([[1.0, 0.4, 0.0, 0.0], [1.0, -0.4, 0.0, 0.0]])
    assert diagnose(Similarity()(theta), (4, 4)).means()["rotation"].item() == pytest.approx(0.4)
