"""Antialiased sampling: laws, and the compiled kernels against `reference.py`."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unwarp import LinearMap, ThinPlateSpline, Translation, inside_mask, sample, warp
from unwarp.sampling import MODES, PADDINGS, cpu, reference


def part(share: float, ndim: int, shift: float = 0.0, angle: float = 0.0) -> LinearMap:
    """A map to the central `share` of the picture, moved and turned."""
    matrix = share * torch.eye(ndim, ndim + 1, dtype=torch.float64)
    if ndim > 1:
        c, s = math.cos(angle), math.sin(angle)
        matrix[:2, :2] = share * torch.tensor([[c, -s], [s, c]])
    matrix[:, -1] = shift
    return LinearMap(matrix.unsqueeze(0))


@pytest.mark.parametrize("factor", [1, 2, 3, 8])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_shrinking_by_a_whole_number_is_the_mean_of_the_pixels_covered(factor: int, ndim: int) -> None:
    size = (2, 3, 4)[:ndim]
    image = torch.randn(2, 3, *(extent * factor for extent in size), dtype=torch.float64)
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[ndim - 1]
    torch.testing.assert_close(warp(image, part(1, ndim), size, antialias=True), pool(image, factor))


@pytest.mark.parametrize("factor", [8.0, 11.3])
@pytest.mark.parametrize("angle", [0.0, 0.3, 0.785])
@pytest.mark.parametrize("ndim", [2, 3])
def test_white_noise_keeps_the_variance_of_a_mean(factor: float, angle: float, ndim: int) -> None:
    torch.manual_seed(0)
    out = (100, 100) if ndim == 2 else (10, 20, 20)
    image = torch.randn(1, 1, *(round(factor * extent) for extent in out), dtype=torch.float64)
    pull = part(0.6, ndim, shift=0.013, angle=angle)
    size = tuple(round(0.6 * extent) for extent in out)
    wanted = factor**-ndim
    variance = warp(image, pull, size, antialias=True).var()
    # The estimate has a spread of its own: that of the variance of as many independent numbers.
    spread = 2 * (2 / torch.Size(size).numel()) ** 0.5
    assert abs(variance / wanted - 1) < 0.1 + spread
    assert warp(image, pull, size).var() > 3 * wanted


def test_eight_times_smaller_noise_has_the_variance_of_an_area_mean_within_a_tenth() -> None:
    torch.manual_seed(1)
    image = torch.rand(1, 1, 1600, 1600)
    for angle in (0.0, 0.4):
        small = warp(image, part(0.7, 2, angle=angle).each(Tensor.float), (140, 140), antialias=True)
        assert abs(small.var() * 64 / image.var() - 1) < 0.1


@pytest.mark.parametrize("mode", MODES)
def test_where_nothing_shrinks_it_is_plain_sampling(mode: str) -> None:
    image = torch.randn(1, 2, 9, 11, dtype=torch.float64)
    pull = part(0.7, 2, shift=0.1, angle=0.5)
    result = warp(image, pull, (9, 11), mode=mode, antialias=True)
    torch.testing.assert_close(result, warp(image, pull, (9, 11), mode=mode))


def test_a_grid_is_measured_by_its_neighbours() -> None:
    image, pull = torch.randn(2, 1, 40, 60, dtype=torch.float64), part(0.8, 2, angle=0.2)
    pull = LinearMap(pull.matrix.expand(2, -1, -1))
    result = sample(image, pull.grid((7, 9)), antialias=True)
    torch.testing.assert_close(result, warp(image, pull, (7, 9), antialias=True))


def test_one_row_of_samples_is_not_widened() -> None:
    image, grid = torch.randn(1, 1, 20, 20, dtype=torch.float64), part(0.5, 2).grid((1, 10))
    assert torch.isfinite(sample(image, grid, antialias=True)).all()


def test_gradients_of_a_shift_are_exact() -> None:
    image = torch.randn(1, 2, 12, 15, dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([[0.11, -0.07]], dtype=torch.float64, requires_grad=True)

    def shrunk(image: Tensor, theta: Tensor) -> Tensor:
        return warp(image, Translation()(theta), (3, 4), mode="cubic", antialias=True)

    assert torch.autograd.gradcheck(shrunk, (image, theta))
    assert torch.autograd.gradgradcheck(shrunk, (image, theta))


def test_bent_maps_and_halves_are_read_too() -> None:
    spline = ThinPlateSpline()
    pull = spline(spline.identity + 0.1 * torch.randn(2, 3, spline.num_params))
    image = torch.rand(2, 1, 64, 64).half()
    result = warp(image, pull, (8, 8), padding="border", antialias=True)
    assert result.shape == (2, 3, 1, 8, 8)
    assert result.dtype == torch.float16
    assert result.std() < warp(image, pull, (8, 8), padding="border").std()


def test_shrinking_to_a_point_takes_no_longer_than_its_limit() -> None:
    matrix = torch.tensor([[[1e7, 1e7, 0.0], [1e6, -1e7, 0.0]]])
    image = torch.rand(1, 1, 30, 30)
    assert torch.isfinite(warp(image, LinearMap(matrix), (2, 2), antialias=True)).all()
    assert (warp(image, LinearMap(matrix * torch.inf), (2, 2), antialias=True) == 0).all()


def test_long_footprints_have_no_more_probes_than_large_ones() -> None:
    image = torch.rand(1, 1, 64, 64, dtype=torch.float64)
    grid = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    grid[0, 0, 1, 0] = 1e30  # changes in x along both axes of the output: long in each, and none is large in both
    assert torch.isfinite(sample(image, grid, antialias=True)).all()
    assert sample(image, torch.zeros(1, 0, 3, 2), antialias=True).shape == (1, 1, 0, 3)


def test_torch_func_knows_how_many_probes_there_are() -> None:
    image, grids = torch.rand(1, 1, 9, 8, dtype=torch.float64), 1.5 * torch.rand(3, 1, 2, 3, 2, dtype=torch.float64)

    def slope(grid: Tensor) -> Tensor:
        return torch.func.jvp(lambda at: sample(image, at, antialias=True), (grid,), (torch.ones_like(grid),))[1]

    def curvature(grid: Tensor) -> Tensor:
        loss = torch.func.grad(lambda at: sample(image, at, antialias=True).square().sum())
        return torch.func.grad(lambda at: loss(at).sum())(grid)

    for derivative in (slope, curvature):
        wanted = torch.stack([derivative(grid) for grid in grids])
        torch.testing.assert_close(torch.func.vmap(derivative)(grids), wanted)


@pytest.mark.parametrize("ndim", [2, 3])
def test_what_is_long_along_one_axis_is_read_pixel_by_pixel_there(ndim: int) -> None:
    length = 3000
    image = torch.rand(1, 1, *(2,) * (ndim - 1), length, dtype=torch.float64)
    column = warp(image, part(1, ndim), (*(2,) * (ndim - 1), 1), antialias=True)
    torch.testing.assert_close(column[..., 0], image.mean(-1))


def test_the_mask_is_what_the_image_covers() -> None:
    pull = part(2.0, 2)
    mask = inside_mask(pull, (8, 8), (8, 8))
    assert mask.shape == (1, 1, 8, 8)
    assert mask[0, 0].sum() == 16
    assert (mask[0, 0, 2:6, 2:6] == 1).all()
    theta = torch.tensor([[0.5, 0.0]], dtype=torch.float64, requires_grad=True)
    inside_mask(Translation()(theta), (5, 5)).sum().backward()
    assert theta.grad is not None
    assert theta.grad[0, 0] < 0
    with pytest.raises(TypeError, match="pull: wanted an unwarp.Map"):
        inside_mask(torch.eye(3), (5, 5))  # pyright: ignore[reportArgumentType]


def test_it_compiles_whole_for_all_sizes() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda image, matrix: warp(image, LinearMap(matrix), (5, 6), antialias=True),
        backend="aot_eager",
        fullgraph=True,
        dynamic=True,
    )
    matrix = part(0.9, 2, angle=0.3).matrix.requires_grad_()
    for size in ((31, 20), (44, 37)):
        image = torch.rand(1, 2, *size, dtype=torch.float64)
        wanted = warp(image, LinearMap(matrix), (5, 6), antialias=True)
        torch.testing.assert_close(compiled(image, matrix), wanted)


def footprints_of(kind: str, count: int, size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    ndim, samples = len(size), torch.Size(size).numel()
    places = torch.randn(count, samples, ndim, ndim + 1, dtype=dtype)
    places[..., :-1] *= 0.5 if ndim < 3 else 0.2
    if kind == "wild":
        values = torch.tensor([float("nan"), float("inf"), 1e30, -1e30, 5.0, 0.0], dtype=dtype)
        points, chosen = places[..., -1], torch.rand(count, samples, ndim) < 0.2
        places[..., -1] = torch.where(chosen, values[torch.randint(len(values), points.shape)], points)
        unknown = torch.rand(count, samples) < 0.1
        places[..., 0, 0] = torch.where(unknown, torch.full_like(places[..., 0, 0], torch.nan), places[..., 0, 0])
    return places


@pytest.mark.skipif(not cpu.COMPILED, reason="installed without the compiled kernels")
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic", "spline3"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
@given(data=st.data())
@settings(max_examples=30)
def test_kernels_give_the_values_and_gradients_of_the_reference(mode: str, ndim: int, data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 10_000)))
    extents = st.sampled_from([1, 2, 5, 9] if ndim == 3 else [1, 3, 7, 17, 33])
    in_size = tuple(data.draw(extents) for _ in range(ndim))
    out_size = tuple(data.draw(st.sampled_from([1, 2, 5])) for _ in range(ndim))
    images, maps = data.draw(st.sampled_from([0, 1, 3])), data.draw(st.sampled_from([1, 2]))
    channels = data.draw(st.sampled_from([0, 1, 3, 17]))
    kind = data.draw(st.sampled_from(["tame", "wild"]))
    words = data.draw(st.sampled_from([("zeros", *PADDINGS[2:]), PADDINGS[1:]]))
    padding = tuple(data.draw(st.sampled_from(words)) for _ in range(ndim))
    fill = torch.randn(channels, dtype=torch.float64) if "constant" in padding else None
    cpu.choose(data.draw(st.sampled_from(cpu.available())))

    image = torch.randn(images, channels, *in_size, dtype=torch.float64, requires_grad=True)
    places = footprints_of(kind, images * maps, out_size, torch.float64).requires_grad_()
    grad_out = torch.randn(images * maps, channels, *out_size, dtype=torch.float64)
    how = (False, mode, padding)
    wanted = reference.read(image, places, out_size, *how, fill)
    torch.testing.assert_close(cpu.read(image, places, out_size, *how, fill), wanted.detach())
    for_image, for_places = torch.autograd.grad(wanted, (image, places), grad_out, materialize_grads=True)
    torch.testing.assert_close(cpu.grad_image(grad_out, places, image, *how), for_image)
    found = cpu.grad_coordinates(grad_out, image, places, *how, fill)
    torch.testing.assert_close(found, for_places, atol=1e-6, rtol=1e-6)
    cpu.choose(cpu.available()[0])


@pytest.mark.skipif(not cpu.COMPILED, reason="installed without the compiled kernels")
@pytest.mark.parametrize("kind", ["tame", "wild"])
@pytest.mark.parametrize("images", [1, 5])
def test_threads_change_no_bit(kind: str, images: int) -> None:
    image, size = torch.randn(images, 2, 40, 50), (30, 20)
    places = footprints_of(kind, images * 2, size, torch.float32)
    grad_out, how = torch.randn(images * 2, 2, *size), (False, "linear", ("zeros", "border"))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(
                (
                    cpu.read(image, places, size, *how, None),
                    cpu.grad_image(grad_out, places, image, *how),
                    cpu.grad_coordinates(grad_out, image, places, *how, None),
                )
            )
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
