import pytest
import torch
from torch import Tensor, nn

from unwarp import Affine, Attention, Cascade, LinearMap, Similarity, SpatialTransformer, Translation, warp
from unwarp.nn import Localization, tiles
from unwarp.transforms import Transform

IDENTITY = LinearMap(torch.eye(2, 3).unsqueeze(0))


class Constant(nn.Module):
    """A localization network that has made up its mind."""

    def __init__(self, *theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([theta]))

    def forward(self, image: Tensor) -> Tensor:
        return self.theta.expand(image.shape[0], -1)


def transformer(transform: Transform, *theta: float, size: tuple[int, int] | None = None) -> SpatialTransformer:
    return SpatialTransformer(Constant(*theta), transform, size)


def test_its_map_is_the_product_of_the_steps_and_nothing_is_resampled_twice() -> None:
    image = torch.rand(2, 3, 12, 14)
    turn, move = (0.8, 0.4, 0.1, 0.0), (0.3, -0.2)
    cascade = Cascade([transformer(Similarity(), *turn), transformer(Translation(), *move, size=(5, 6))])
    aligned = cascade.align(image)
    product = Similarity()(torch.tensor([turn])) @ Translation()(torch.tensor([move]))
    assert isinstance(aligned.pull, LinearMap)
    torch.testing.assert_close(aligned.pull.matrix, product.matrix.expand(2, -1, -1))
    torch.testing.assert_close(aligned.image, warp(image, product, (5, 6)))
    assert [theta.shape[1] for theta in aligned.thetas] == [4, 2]
    assert len(aligned.pulls) == 2


def test_what_one_step_left_outside_comes_back_with_the_next() -> None:
    image = torch.rand(1, 1, 9, 9)
    there_and_back = Cascade([transformer(Translation(), 5.0, 0.0), transformer(Translation(), -5.0, 0.0)])
    torch.testing.assert_close(there_and_back(image), image)


def test_passes_share_one_network_which_sees_its_own_correction() -> None:
    class Centre(nn.Module):
        """Half of the way from the picture's centre to that of its mass."""

        def forward(self, image: Tensor) -> Tensor:
            axis = (torch.arange(image.shape[-1]) * 2 + 1) / image.shape[-1] - 1
            mass = image.sum((1, 2, 3), keepdim=True)[..., 0, 0]
            x, y = (image.sum((1, 2)) * axis).sum(1), (image.sum((1, 3)) * axis).sum(1)
            return torch.stack([x, y], 1) / mass / 2

    image = torch.zeros(1, 1, 32, 32)
    image[..., 18:22, 22:26] = 1
    true = torch.tensor([24 / 32 * 2 - 1, 20 / 32 * 2 - 1])
    errors = []
    for passes in (1, 2, 4):
        pull = Cascade([SpatialTransformer(Centre(), Translation())], passes).align(image).pull
        assert isinstance(pull, LinearMap)
        errors.append((pull.matrix[0, :, -1] - true).norm())
    torch.testing.assert_close(errors[1] / errors[0], torch.tensor(0.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(errors[2] / errors[0], torch.tensor(0.125), atol=1e-3, rtol=0)


def test_the_gradient_reaches_every_pass() -> None:
    cascade = Cascade([transformer(Affine(), *Affine().identity.tolist()) for _ in range(3)])
    cascade(torch.rand(2, 1, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in cascade.parameters())


def test_it_starts_at_the_identity() -> None:
    image = torch.rand(2, 1, 10, 10)
    localization = Localization(nn.Flatten(), 100, Affine())
    torch.testing.assert_close(Cascade([SpatialTransformer(localization, Affine())], passes=4)(image), image)


@pytest.mark.parametrize(("count", "passes", "message"), [(0, 1, "transformers: wanted"), (1, 0, "passes: wanted")])
def test_what_is_no_cascade_is_an_error(count: int, passes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cascade([transformer(Translation(), 0.0, 0.0)] * count, passes)


def test_several_maps_of_an_image_are_alone() -> None:
    several = SpatialTransformer(Localization(nn.Flatten(), 64, Affine(), start=tiles(Affine(), (2, 2))), Affine())
    one = transformer(Affine(), *Affine().identity.tolist())
    image = torch.rand(2, 1, 8, 8)
    assert Cascade([several])(image).shape == (2, 4, 1, 8, 8)
    for cascade in (
        Cascade([several], passes=2),
        Cascade([several], window=0.5),
        Cascade([several, one]),
        Cascade([one, several]),
    ):
        with pytest.raises(ValueError, match="^transformers: wanted one map of each image in a cascade, got 4"):
            cascade(image)


def test_a_window_is_seen_first_and_what_lies_around_it_can_come_back() -> None:
    class Shown(nn.Module):
        """Remembers what it was shown, and looks twice as far."""

        def forward(self, image: Tensor) -> Tensor:
            self.image = image
            return torch.tensor([[2.0, 0.0, 0.0]]).expand(image.shape[0], -1)

    image = torch.rand(2, 1, 16, 16)
    network = Shown()
    cascade = Cascade([SpatialTransformer(network, Attention(), (8, 8))], window=0.5)
    aligned = cascade.align(image)
    torch.testing.assert_close(network.image, image[..., 4:12, 4:12])
    torch.testing.assert_close(aligned.image, SpatialTransformer(network, Translation(), (8, 8)).warp(image, IDENTITY))


def on_a_leash(*shifts: float) -> tuple[Cascade, list[Constant]]:
    networks = [Constant(shift, 0.0) for shift in shifts]
    return Cascade([SpatialTransformer(n, Translation(), (4, 4), leash=1.0) for n in networks]), networks


def test_the_leash_holds_what_has_left_the_picture_with_all_steps() -> None:
    image = torch.rand(1, 1, 8, 8)
    cascade, networks = on_a_leash(1.5, 1.5)
    cascade(image).sum().backward()
    alone, (network,) = on_a_leash(3.0)
    alone(image).sum().backward()
    pulled_back = network.theta.grad
    assert pulled_back is not None
    assert pulled_back[0, 0] > 0
    torch.testing.assert_close(networks[1].theta.grad, pulled_back)


def test_the_leash_leaves_alone_what_a_later_step_brings_back() -> None:
    image = torch.rand(1, 1, 8, 8)
    cascade, networks = on_a_leash(3.0, -3.0)
    (0 * cascade(image)).sum().backward()
    pulled_back = networks[1].theta.grad
    assert pulled_back is not None
    assert not pulled_back.any()


def test_other_modules_are_refused() -> None:
    with pytest.raises(TypeError, match="^transformers: wanted SpatialTransformers, got Identity"):
        Cascade([nn.Identity()])  # pyright: ignore[reportArgumentType]


def test_compiles_whole() -> None:
    cascade = Cascade([transformer(Similarity(), 0.8, 0.4, 0.1, 0.0)], passes=3)
    image = torch.rand(2, 1, 9, 8)
    torch.testing.assert_close(torch.compile(cascade, fullgraph=True, backend="aot_eager")(image), cascade(image))
