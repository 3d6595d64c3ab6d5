import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from unwarp.coordinates import identity_grid, to_pixel
from unwarp.sampling import MODES, PADDINGS, sample
from unwarp.sampling.splines import spline_coefficients

SPLINES = [mode for mode in MODES if mode.startswith("spline")]


@pytest.mark.parametrize("mode", SPLINES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(1,), (9,), (6, 11), (4, 5, 6), (256,), (257,), (700, 2)])
def test_a_spline_goes_through_every_pixel(mode: str, padding: str, size: tuple[int, ...]) -> None:
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    grid = identity_grid(size, dtype=torch.float64).expand(2, *size, len(size))
    fill = 0.7 if padding == "constant" else 0.0
    torch.testing.assert_close(sample(image, grid, mode=mode, padding=padding, fill=fill), image)


@pytest.mark.parametrize("mode", SPLINES)
@pytest.mark.parametrize(("padding", "theirs"), [("reflection", "reflect"), ("wrap", "grid-wrap")])
@pytest.mark.parametrize("size", [(12, 17), (12, 500)])
def test_agrees_with_scipy(mode: str, padding: str, theirs: str, size: tuple[int, int]) -> None:
    image = torch.randn(1, 1, *size, dtype=torch.float64)
    grid = 3 * torch.rand(1, 8, 9, 2, dtype=torch.float64) - 1.5
    pixels = to_pixel(grid, size).flip(-1).movedim(-1, 0)[:, 0].numpy()
    wanted = map_coordinates(image[0, 0].numpy(), pixels, order=int(mode[-1]), mode=theirs)
    np.testing.assert_allclose(sample(image, grid, mode=mode, padding=padding)[0, 0].numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("mode", SPLINES)
def test_a_parabola_is_read_exactly_far_from_the_border(mode: str) -> None:
    position = torch.arange(64, dtype=torch.float64)
    line = ((position - 30) ** 2).reshape(1, 1, 64)
    at = torch.linspace(28, 36, 33, dtype=torch.float64)
    grid = ((2 * at - 63) / 64).reshape(1, 33, 1)
    torch.testing.assert_close(sample(line, grid, mode=mode, padding="border")[0, 0], (at - 30) ** 2)


def test_coefficients_have_derivatives_of_every_order_and_a_vmap() -> None:
    image = torch.randn(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)

    def coefficients(i: torch.Tensor) -> torch.Tensor:
        return spline_coefficients(i, "spline3", ("border", "zeros"))

    assert torch.autograd.gradcheck(coefficients, (image,))
    assert torch.autograd.gradgradcheck(coefficients, (image,))
    stack = torch.randn(3, 2, 1, 4, 5, dtype=torch.float64)
    together = torch.func.vmap(coefficients)(stack)
    torch.testing.assert_close(together, torch.stack([coefficients(one) for one in stack]))


def test_torch_func_knows_the_derivatives_of_an_image_read_as_a_spline() -> None:
    image, tangent = torch.rand(2, 1, 1, 5, 6, dtype=torch.float64)
    grid = 2 * torch.rand(1, 3, 4, 2, dtype=torch.float64) - 1

    def read(picture: torch.Tensor) -> torch.Tensor:
        return sample(picture, grid, mode="spline3")

    value, along, *_ = torch.func.jvp(read, (image,), (tangent,))
    torch.testing.assert_close(value, read(image))
    torch.testing.assert_close(along, read(tangent))
    leaf = image.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(read(leaf).square().sum(), leaf)
    torch.testing.assert_close(torch.func.grad(lambda picture: read(picture).square().sum())(image), wanted)
    each = torch.func.vmap(torch.func.grad(lambda picture: read(picture[None]).square().sum()))(image)
    torch.testing.assert_close(each, wanted)


@pytest.mark.parametrize("mode", SPLINES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_the_gradient_of_a_long_axis_is_the_adjoint(mode: str, padding: str) -> None:
    x, y = torch.randn(2, 1, 1, 431, dtype=torch.float64)
    x.requires_grad_()
    coefficients = spline_coefficients(x, mode, (padding,))
    (gradient,) = torch.autograd.grad(coefficients, x, y)
    # Of a linear function: what a unit at each pixel brings.
    units = spline_coefficients(torch.eye(431, dtype=torch.float64).unsqueeze(1), mode, (padding,)).squeeze(1)
    torch.testing.assert_close(gradient.flatten(), units @ y.flatten())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8])
def test_other_element_types_come_back_as_they_were(dtype: torch.dtype) -> None:
    image = (255 * torch.rand(1, 2, 8, 9)).to(dtype)
    grid = identity_grid((8, 9)).unsqueeze(0)
    assert torch.equal(sample(image, grid, mode="spline3"), image)
