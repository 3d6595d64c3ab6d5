import pytest
import torch
from torch import Tensor, nn

from tests.conftest import TRANSFORMS_2D
from unwarp.maps import LinearMap
from unwarp.nn import (
    Localization,
    ParallelLocalization,
    PerMap,
    SpatialTransformer,
    convolutional,
    diagnose,
    fully_connected,
    parameter_groups,
    tiles,
)
from unwarp.transforms import Affine, Attention, Bounded, Rotation, ThinPlateSpline, Transform, Translation
from unwarp.warping import warp


class Fixed(nn.Module):
    """A localization network that always says the same."""

    def __init__(self, *theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta))

    def forward(self, image: Tensor) -> Tensor:
        return self.theta.expand(len(image), -1)


@pytest.mark.parametrize("window", [1.0, 0.5])
def test_side_by_side_is_each_by_itself(window: float) -> None:
    image = torch.rand(3, 2, 12, 14)
    thetas = [(0.5, 0.3, 0.0), (1.2, 0.0, -0.4)]
    together = SpatialTransformer(
        ParallelLocalization([Fixed(*theta) for theta in thetas]), Attention(), (6, 7), window=window
    )
    aligned = together.align(image)
    assert aligned.theta.shape == (3, 2, 3)
    assert aligned.pull.batch == (3, 2)
    for index, theta in enumerate(thetas):
        alone = SpatialTransformer(Fixed(*theta), Attention(), (6, 7), window=window)
        assert torch.equal(aligned.image[:, index], alone(image))
    side_by_side = nn.Flatten(1, 2)(aligned.image)
    assert torch.equal(side_by_side[:, 2:], aligned.image[:, 1])


@pytest.mark.parametrize("transform", TRANSFORMS_2D, ids=repr)
def test_one_network_gives_maps_of_any_start(transform: Transform) -> None:
    start = transform.identity + 0.1 * torch.randn(3, transform.num_params)
    localization = fully_connected((1, 8, 8), transform, start=start)
    image = torch.rand(2, 1, 8, 8)
    assert torch.equal(localization(image), start.expand(2, -1, -1))
    warped = SpatialTransformer(localization, transform)(image)
    torch.testing.assert_close(warped, warp(image, transform(start.expand(2, -1, -1))))


@pytest.mark.parametrize("shape", [(5,), (2, 5), (0, 6), (1, 2, 6)])
def test_a_start_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^start: wanted \[6\] or \[K, 6\]"):
        Localization(nn.Flatten(), 4, Affine(), start=torch.zeros(shape))


@pytest.mark.parametrize(
    "transform", [Translation(), Attention(), Affine(), Bounded(Affine(), translation=1.0)], ids=repr
)
@pytest.mark.parametrize("counts", [(1, 2), (2, 2), (3, 1)])
def test_tiles_within_a_window_are_the_pieces_of_the_picture(transform: Transform, counts: tuple[int, int]) -> None:
    rows, columns = counts
    size = (12 // rows, 12 // columns)
    start = tiles(transform, counts)
    localization = convolutional((2, 12, 12), transform, start=start)
    seen = SpatialTransformer(localization, transform).locate(torch.rand(1, 2, 12, 12))[1]
    # The window zooms both axes alike; tiles that are no squares need a zoom of their own.
    zoom = LinearMap(torch.tensor([[[[1 / columns, 0, 0], [0, 1 / rows, 0]]]]).expand(1, len(start), -1, -1))
    image = torch.rand(1, 2, 12, 12)
    pieces = warp(image, seen @ zoom, size)
    for index in range(rows * columns):
        row, column = divmod(index, columns)
        piece = image[:, :, row * size[0] : (row + 1) * size[0], column * size[1] : (column + 1) * size[1]]
        torch.testing.assert_close(pieces[:, index], piece)


def test_tiles_move_a_spline_as_a_whole() -> None:
    pull = ThinPlateSpline((3, 3))(tiles(ThinPlateSpline((3, 3)), (2, 1)))
    points = torch.rand(1, 5, 2)
    shift = torch.tensor([[[0.0, -0.5]], [[0.0, 0.5]]])
    torch.testing.assert_close(pull(points), points + shift, atol=1e-5, rtol=0)


def test_tiles_are_refused_where_they_cannot_be() -> None:
    with pytest.raises(ValueError, match="^transform: wanted one that can shift"):
        tiles(Rotation(), (1, 2))
    with pytest.raises(ValueError, match="^components: wanted some within the bounds"):
        tiles(Bounded(Translation(), translation=0.4), (1, 2))
    with pytest.raises(ValueError, match="^counts: wanted"):
        tiles(Translation(), (2,))


def test_each_network_gets_its_own_output_and_one_gets_all() -> None:
    images = torch.rand(4, 3, 2, 5, 5)
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(50, 6)) for _ in range(3)]
    made = PerMap(networks)(images)
    assert made.shape == (4, 3, 6)
    for index, network in enumerate(networks):
        torch.testing.assert_close(made[:, index], network(images[:, index]))
        torch.testing.assert_close(PerMap([network])(images)[:, 1], network(images[:, 1]))
    with pytest.raises(ValueError, match="^images: wanted"):
        PerMap(networks[:2])(images)
    for kind in (PerMap, ParallelLocalization):
        with pytest.raises(ValueError, match="^networks: wanted at least one"):
            kind([])


def test_everything_around_a_transformer_takes_several_maps() -> None:
    transform = Attention()
    localizations = [fully_connected((1, 9, 9), transform, start=torch.tensor([0.5, x, 0.0])) for x in (0.0, 4.0)]
    transformer = SpatialTransformer(ParallelLocalization(localizations), transform, (5, 5), leash=1.0, window=0.8)
    aligned = transformer.align(torch.rand(2, 1, 9, 9))
    found = diagnose(aligned.pull, (5, 5))
    torch.testing.assert_close(found.scale, torch.full((2, 2), 0.4))
    torch.testing.assert_close(found.outside, torch.tensor([[0.0, 1.0]] * 2))
    aligned.image.sum().backward()
    # Only the one that has left the picture is on the leash, and pulled back.
    lost = localizations[1].head.bias.grad
    assert lost is not None
    assert lost[1] > 0
    groups = parameter_groups(nn.Sequential(transformer, nn.Linear(5, 2)), lr=1.0, localization_factor=0.1)
    assert sum(len(group["params"]) for group in groups[1:]) == len(list(transformer.parameters()))
