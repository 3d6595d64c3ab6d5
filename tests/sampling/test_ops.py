"""Laws of the sampler; `reference.py` is what `ops.sample` runs."""

from itertools import product
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unwarp.coordinates import identity_grid
from unwarp.sampling import MODES, PADDINGS, sample

TORCH_MODE = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}
SHARED_PADDINGS = ("zeros", "border", "reflection")
extents = st.integers(1, 7)


def grid_of(points: int, ndim: int, reach: float = 1.6, count: int = 2) -> Tensor:
    return (2 * torch.rand(count, points, *(1,) * (ndim - 1), ndim, dtype=torch.float64) - 1) * reach


@pytest.mark.parametrize(("mode", "padding"), list(product(TORCH_MODE, SHARED_PADDINGS)))
@given(height=extents, width=extents, channels=st.integers(0, 3), seed=st.integers(0, 99))
def test_agrees_with_torch_in_2d(mode: str, padding: str, height: int, width: int, channels: int, seed: int) -> None:
    torch.manual_seed(seed)
    image = torch.randn(2, channels, height, width, dtype=torch.float64)
    grid = grid_of(11, 2)
    wanted = F.grid_sample(image, grid, mode=TORCH_MODE[mode], padding_mode=padding, align_corners=False)
    torch.testing.assert_close(sample(image, grid, mode=mode, padding=padding), wanted)


@pytest.mark.parametrize(("mode", "padding"), list(product(("nearest", "linear"), SHARED_PADDINGS)))
@given(size=st.tuples(extents, extents, extents), seed=st.integers(0, 99))
def test_agrees_with_torch_in_3d(mode: str, padding: str, size: tuple[int, int, int], seed: int) -> None:
    torch.manual_seed(seed)
    image = torch.randn(2, 2, *size, dtype=torch.float64)
    grid = grid_of(11, 3)
    wanted = F.grid_sample(image, grid, mode=TORCH_MODE[mode], padding_mode=padding, align_corners=False)
    torch.testing.assert_close(sample(image, grid, mode=mode, padding=padding), wanted)


@pytest.mark.parametrize(("mode", "padding"), list(product(MODES, PADDINGS)))
def test_a_line_is_read_as_a_picture_one_pixel_high(mode: str, padding: str) -> None:
    line, grid = torch.randn(2, 3, 9, dtype=torch.float64), grid_of(11, 1)
    high = torch.cat([grid, torch.zeros_like(grid)], dim=-1).unsqueeze(2)
    picture = sample(line.unsqueeze(2), high, mode=mode, padding=padding)
    torch.testing.assert_close(sample(line, grid, mode=mode, padding=padding), picture.squeeze(-1))


@pytest.mark.parametrize("mode", MODES)
def test_constant_padding_is_zeros_padding_around_a_shifted_picture(mode: str) -> None:
    image, grid = torch.randn(2, 3, 5, 6, dtype=torch.float64), grid_of(40, 2, reach=3)
    fill = torch.tensor([0.5, -2.0, 7.0], dtype=torch.float64)
    shifted = sample(image - fill[:, None, None], grid, mode=mode) + fill[:, None, None]
    torch.testing.assert_close(sample(image, grid, mode=mode, padding="constant", fill=fill), shifted)


@pytest.mark.parametrize("mode", MODES)
def test_wrap_padding_repeats_the_picture(mode: str) -> None:
    image, grid = torch.randn(2, 1, 5, 6, dtype=torch.float64), grid_of(40, 2, reach=0.99)
    period = 2 * torch.tensor([3.0, -2.0], dtype=torch.float64)
    near, far = (sample(image, g, mode=mode, padding="wrap") for g in (grid, grid + period))
    torch.testing.assert_close(near, far)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8])
@pytest.mark.parametrize("mode", TORCH_MODE)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (28, 28), (256, 200)])
def test_aligned_samples_are_the_pixels_bit_for_bit(dtype: torch.dtype, mode: str, size: tuple[int, int]) -> None:
    image = (torch.rand(1, 2, *size) * 255).to(dtype)
    assert torch.equal(sample(image, identity_grid(size).unsqueeze(0), mode=mode), image)
    turned = identity_grid(size).flip(0, 1).unsqueeze(0)
    assert torch.equal(sample(image, turned, mode=mode), image.flip(2, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_images_are_off_by_their_own_rounding_only(dtype: torch.dtype) -> None:
    image = torch.rand(1, 1, 256, 256).to(dtype)
    grid = (2 * torch.rand(1, 100, 100, 2) - 1) * 1.1
    exact = sample(image.double(), grid.double())
    error = (sample(image, grid).double() - exact).abs().max().item()
    assert error <= torch.finfo(dtype).eps


def test_uint8_images_are_rounded_not_wrapped() -> None:
    image = torch.tensor([0, 255, 0, 255, 255, 0], dtype=torch.uint8).reshape(1, 1, 1, 6)
    grid = torch.stack([torch.linspace(-1, 1, 101), torch.zeros(101)], dim=-1).reshape(1, 1, 101, 2)
    exact = sample(image.double(), grid.double(), mode="cubic", padding="border")
    assert exact.max() > 255
    assert exact.min() < 0
    result = sample(image, grid, mode="cubic", padding="border").double()
    assert (result - exact.clamp(0, 255)).abs().max() <= 0.5 + 1e-3


@pytest.mark.parametrize(("mode", "padding"), list(product(MODES, PADDINGS)))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30])
def test_wild_coordinates_give_numbers_and_gradients(mode: str, padding: str, value: float) -> None:
    image = torch.rand(1, 2, 4, 5, requires_grad=True)
    grid = torch.zeros(1, 3, 1, 2)
    grid[0, 1, 0, 0] = value
    grid.requires_grad_()
    result = sample(image, grid, mode=mode, padding=padding, fill=3.0 if padding == "constant" else 0.0)
    assert torch.isfinite(result).all()
    if padding == "constant":
        assert (result[:, :, 1] == 3).all()
    elif padding == "zeros" or value != value:
        assert (result[:, :, 1] == 0).all()
    result.sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()
    assert grid.grad is None or torch.isfinite(grid.grad).all()


@pytest.mark.parametrize(("mode", "padding"), list(product(MODES, PADDINGS)))
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_first_and_second_derivatives(mode: str, padding: str, ndim: int) -> None:
    image = torch.randn(1, 1, *(3, 4, 2)[:ndim], dtype=torch.float64, requires_grad=True)
    grid = grid_of(4, ndim, reach=1.3, count=1).requires_grad_()
    fill = torch.randn(1, dtype=torch.float64) if padding == "constant" else 0.0

    def read(picture: Tensor, points: Tensor) -> Tensor:
        return sample(picture, points, mode=mode, padding=padding, fill=fill)

    assert torch.autograd.gradcheck(read, (image, grid))
    assert torch.autograd.gradgradcheck(read, (image, grid))


def test_the_fill_has_a_gradient() -> None:
    fill = torch.randn(2, dtype=torch.float64, requires_grad=True)
    image, grid = torch.randn(1, 2, 3, 3, dtype=torch.float64), grid_of(9, 2, reach=2, count=1)
    assert torch.autograd.gradcheck(lambda f: sample(image, grid, padding="constant", fill=f), (fill,))


@pytest.mark.parametrize("mode", ["linear", "cubic", "spline3"])
def test_image_grid_and_fill_have_second_derivatives_of_each_other(mode: str) -> None:
    image = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    grid = grid_of(4, 2, reach=1.3, count=1).requires_grad_()
    fill = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def read(picture: Tensor, points: Tensor, outside: Tensor) -> Tensor:
        return sample(picture, points, mode=mode, padding="constant", fill=outside)

    assert torch.autograd.gradgradcheck(read, (image, grid, fill))
    assert torch.autograd.gradgradcheck(lambda g, f: read(image.detach(), g, f), (grid, fill))


def test_the_gradient_of_the_fill_is_the_same_for_all_numbers_of_threads() -> None:
    image, grid, grad_out = torch.rand(1, 1, 9, 9), 3 * torch.rand(1, 900, 900, 2) - 1.5, torch.rand(1, 1, 900, 900)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            fill = torch.zeros(1, requires_grad=True)
            results += torch.autograd.grad(sample(image, grid, padding="constant", fill=fill), fill, grad_out)
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_a_tensor_that_is_stored_with_the_other_sign_is_read_as_what_it_is() -> None:
    numbers = torch.complex(torch.rand(1, 1, 4, 5), torch.rand(1, 1, 4, 5))
    points = torch.complex(grid_of(6, 2, count=1).float(), torch.rand(1, 6, 1, 2))
    image, grid = numbers.conj().imag, points.conj().imag
    assert image.is_neg()
    assert grid.is_neg()
    torch.testing.assert_close(sample(image, grid), sample(image.resolve_neg(), grid.resolve_neg()))


def test_the_operator_refuses_coordinates_of_low_precision() -> None:
    words = ((3, 4), False, "linear", ("zeros", "zeros"), None)
    with pytest.raises(TypeError, match="^coordinates: wanted float32 or float64, got torch.bfloat16"):
        torch.ops.unwarp.read(torch.rand(1, 1, 5, 5), torch.zeros(1, 12, 2, dtype=torch.bfloat16), *words)


@pytest.mark.parametrize("needs", list(product([False, True], repeat=2)))
def test_any_of_image_and_grid_may_need_a_gradient(needs: tuple[bool, bool]) -> None:
    image = torch.rand(1, 1, 4, 4, requires_grad=needs[0])
    grid = torch.rand(1, 3, 3, 2, requires_grad=needs[1])
    assert sample(image, grid).requires_grad == any(needs)


def test_half_precision_image_gradients_are_summed_in_float32() -> None:
    image = torch.zeros(1, 1, 1, 1, dtype=torch.bfloat16, requires_grad=True)
    sample(image, torch.zeros(1, 1, 5000, 2)).float().sum().backward()
    assert image.grad is not None
    assert abs(image.grad.item() - 5000) <= 5000 * torch.finfo(torch.bfloat16).eps


def test_many_grids_per_image_read_like_copies_of_the_image() -> None:
    image, grid = torch.rand(2, 3, 5, 6), torch.rand(2, 4, 7, 8, 2) * 2 - 1
    copies = image.repeat_interleave(4, dim=0)
    wanted = sample(copies, grid.flatten(0, 1)).unflatten(0, (2, 4))
    assert torch.equal(sample(image, grid), wanted)


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (2, 0, 4, 4)])
def test_empty_batches_and_no_channels(shape: tuple[int, ...]) -> None:
    assert sample(torch.zeros(shape), torch.zeros(shape[0], 3, 5, 2)).shape == (*shape[:2], 3, 5)
    assert sample(torch.zeros(shape), torch.zeros(shape[0], 0, 5, 2)).shape == (*shape[:2], 0, 5)


def test_strides_do_not_matter() -> None:
    image = torch.rand(2, 3, 6, 8)
    grid = torch.rand(2, 5, 5, 2)
    strided = image.to(memory_format=torch.channels_last)
    assert torch.equal(sample(strided, grid.transpose(1, 2)), sample(image, grid.transpose(1, 2).contiguous()))
    assert torch.equal(sample(image[..., ::2], grid), sample(image[..., ::2].contiguous(), grid))


def test_vmap_reads_like_a_loop() -> None:
    images, grids = torch.rand(3, 2, 1, 5, 5), torch.rand(3, 2, 4, 4, 2)
    together = torch.func.vmap(sample)(images, grids)
    assert torch.equal(together, torch.stack([sample(i, g) for i, g in zip(images, grids, strict=True)]))
    gradient = torch.func.vmap(torch.func.grad(lambda g, i: sample(i, g).sum()))(grids, images)
    assert torch.isfinite(gradient).all()


def test_gradients_pass_vmap() -> None:
    leaves = [torch.rand(3, 2, 1, 5, 5, requires_grad=True), torch.rand(3, 2, 4, 4, 2, requires_grad=True)]
    values = torch.func.vmap(sample)(*leaves), torch.stack([sample(i, g) for i, g in zip(*leaves, strict=True)])
    found, wanted = (torch.autograd.grad(v.square().sum(), leaves, create_graph=True) for v in values)
    torch.testing.assert_close(found, wanted)
    # The operators themselves, as a traced program calls them.
    how = ((4, 4), False, "linear", ("zeros", "zeros"), None)
    traced = torch.func.vmap(lambda i, g: torch.ops.unwarp.read(i, g.flatten(1, 2), *how))(*leaves)
    torch.testing.assert_close(torch.autograd.grad(traced.square().sum(), leaves), wanted)


@pytest.mark.parametrize("fill", [0.0, torch.tensor([0.2, 0.7, 0.4], dtype=torch.float64)])
def test_vmap_over_the_maps_of_shared_images(fill: float | Tensor) -> None:
    image = torch.rand(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    grids = 2 * torch.rand(4, 2, 5, 3, 3, 2, dtype=torch.float64) - 1

    def read(grid: Tensor) -> Tensor:
        return sample(image, grid, padding="constant", fill=fill)

    def loss(picture: Tensor, grid: Tensor) -> Tensor:
        return sample(picture, grid, padding="constant", fill=fill).square().sum()

    together, one_by_one = torch.func.vmap(read)(grids), torch.stack([read(grid) for grid in grids])
    assert torch.equal(together, one_by_one)
    found, wanted = (torch.autograd.grad(values.square().sum(), image) for values in (together, one_by_one))
    torch.testing.assert_close(found, wanted)
    gradients = torch.func.grad(loss, (0, 1))
    each = torch.func.vmap(gradients, in_dims=(None, 0))(image.detach(), grids)
    for found, wanted in zip(each, zip(*(gradients(image.detach(), grid) for grid in grids), strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(wanted))


def test_vmap_over_fills() -> None:
    image, grid, fills = torch.rand(1, 2, 5, 5), 4 * torch.rand(1, 3, 4, 2) - 2, torch.rand(4, 2)

    def read(fill: Tensor) -> Tensor:
        return sample(image, grid, padding="constant", fill=fill)

    assert torch.equal(torch.func.vmap(read)(fills), torch.stack([read(fill) for fill in fills]))


@pytest.mark.parametrize("mode", ["linear", "spline3"])
def test_vmap_over_nothing(mode: str) -> None:
    image, grid = torch.rand(2, 3, 5, 5), torch.rand(2, 4, 4, 2)
    no_image, no_grid = (some.unsqueeze(0)[:0] for some in (image, grid))
    assert torch.func.vmap(lambda i: sample(i, grid, mode=mode))(no_image).shape == (0, 2, 3, 4, 4)
    assert torch.func.vmap(lambda g: sample(image, g, mode=mode))(no_grid).shape == (0, 2, 3, 4, 4)


def test_many_gradients_at_once() -> None:
    image = torch.rand(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    grid, fill = grid_of(3, 2, count=1).requires_grad_(), torch.rand(2, dtype=torch.float64, requires_grad=True)
    leaves = (image, grid, fill)
    values = sample(image, grid, padding="constant", fill=fill)
    directions = torch.randn(4, *values.shape, dtype=torch.float64)
    found = torch.autograd.grad(values, leaves, directions, retain_graph=True, is_grads_batched=True)
    single = [torch.autograd.grad(values, leaves, one, retain_graph=True) for one in directions]
    for gradient, wanted in zip(found, zip(*single, strict=True), strict=True):
        torch.testing.assert_close(gradient, torch.stack(wanted))


@pytest.mark.parametrize("mode", ["linear", "cubic", "spline3"])
def test_torch_func_knows_second_derivatives_in_every_order_of_modes(mode: str) -> None:
    image, grid = torch.rand(1, 1, 5, 6, dtype=torch.float64), grid_of(3, 2, reach=0.8, count=1)

    def loss_of(picture: Tensor, at: Tensor) -> Tensor:
        return sample(picture, at, mode=mode).square().sum()

    for place in (0, 1):
        wanted: Any = torch.autograd.functional.hessian(loss_of, (image, grid))[place][place]
        for outer in (torch.func.jacfwd, torch.func.jacrev):
            for inner in (torch.func.jacfwd, torch.func.jacrev):
                found = outer(inner(loss_of, place), place)(image, grid)
                torch.testing.assert_close(found, wanted)


def test_autocast_leaves_coordinates_and_images_as_they_are() -> None:
    image, grid = torch.rand(2, 3, 40, 50), torch.rand(2, 9, 8, 2, requires_grad=True)
    for picture in (image, image.bfloat16()):
        for mode in ("linear", "spline3"):
            wanted = sample(picture, grid, mode=mode)
            (wanted_gradient,) = torch.autograd.grad(wanted.float().square().sum(), grid)
            with torch.autocast("cpu", torch.bfloat16):
                found = sample(picture, grid, mode=mode)
                (gradient,) = torch.autograd.grad(found.float().square().sum(), grid)
            assert found.dtype == picture.dtype
            assert gradient.dtype == torch.float32
            assert torch.equal(found, wanted)
            assert torch.equal(gradient, wanted_gradient)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("mode", ["linear", "spline3"])
def test_a_traced_program_reads_what_it_is_given(mode: str) -> None:
    first, second = [(torch.rand(1, 1, 5, 5), torch.rand(1, 4, 4, 2)) for _ in range(2)]
    traced: Any = torch.jit.trace(lambda image, grid: sample(image, grid, mode=mode), first, check_trace=False)
    torch.testing.assert_close(traced(*second), sample(*second, mode=mode))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_traced_program_takes_no_means_over_footprints() -> None:
    arguments = torch.rand(1, 1, 5, 5), torch.rand(1, 4, 4, 2)
    with pytest.raises(NotImplementedError, match="^antialias"):
        torch.jit.trace(lambda image, grid: sample(image, grid, antialias=True), arguments)


def test_forward_mode_agrees_with_reverse_mode() -> None:
    image, grid = torch.rand(1, 1, 5, 5, dtype=torch.float64), grid_of(6, 2, count=1)
    forward = torch.func.jacfwd(lambda g: sample(image, g))(grid)
    torch.testing.assert_close(forward, torch.func.jacrev(lambda g: sample(image, g))(grid))
    with forward_ad.dual_level():
        dual = sample(image, forward_ad.make_dual(grid, torch.ones_like(grid)))
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, forward.flatten(4).sum(-1))


def test_forward_mode_goes_through_a_backward_pass() -> None:
    image = torch.rand(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    grid = grid_of(6, 2, count=1).requires_grad_()
    weight, change = torch.rand(2, 1, 2, 6, 1, dtype=torch.float64)
    for leaf in (image, grid):
        (wanted,) = torch.autograd.grad(sample(image, grid), leaf, change)
        with forward_ad.dual_level():
            loss = (sample(image, grid) * forward_ad.make_dual(weight, change)).sum()
            (found,) = torch.autograd.grad(loss, leaf)
            torch.testing.assert_close(forward_ad.unpack_dual(found).tangent, wanted)


@pytest.mark.parametrize(
    ("kind", "image", "grid", "words", "named"),
    [
        (TypeError, [[1.0]], torch.zeros(1, 1, 1, 2), {}, "image"),
        (TypeError, torch.zeros(1, 1, 2, 2, dtype=torch.int64), torch.zeros(1, 1, 1, 2), {}, "image"),
        (ValueError, torch.zeros(2, 2), torch.zeros(1, 1, 1, 2), {}, "image"),
        (ValueError, torch.zeros(1, 1, 0, 2), torch.zeros(1, 1, 1, 2), {}, "image"),
        (TypeError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2).half(), {}, "grid"),
        (ValueError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 3), {}, "grid"),
        (ValueError, torch.zeros(1, 1, 2, 2), torch.zeros(2, 1, 1, 2), {}, "grid"),
        (ValueError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), {"mode": "bilinear"}, "mode"),
        (ValueError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), {"padding": "edge"}, "padding"),
        (TypeError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), {"padding": None}, "padding"),
        (TypeError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), {"padding": {"zeros"}}, "padding"),
        (ValueError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), {"fill": 1.0}, "fill"),
        (ValueError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), {"fill": torch.ones(1)}, "fill"),
        (TypeError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), {"fill": None}, "fill"),
        (TypeError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), {"fill": torch.ones(1) * 1j}, "fill"),
        (TypeError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), {"fill": torch.ones(1).to_sparse()}, "fill"),
        (ValueError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), {"fill": torch.ones(1, device="meta")}, "fill"),
        (ValueError, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), {"fill": 1e39}, "fill"),
        (
            ValueError,
            torch.zeros(1, 2, 2, 2),
            torch.zeros(1, 1, 1, 2),
            {"padding": "constant", "fill": torch.zeros(3)},
            "fill",
        ),
    ],
)
def test_bad_input_is_named_at_the_door(kind: type, image: Tensor, grid: Tensor, words: dict, named: str) -> None:
    with pytest.raises(kind, match=f"^{named}: wanted"):
        sample(image, grid, **words)


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")
def test_nested_tensors_are_refused() -> None:
    image = torch.nested.nested_tensor([torch.zeros(1, 2, 2), torch.zeros(1, 3, 2)])
    with pytest.raises(TypeError, match="^image: wanted a tensor of one shape"):
        sample(image, torch.zeros(2, 1, 1, 2))


def test_zeros_that_are_not_in_memory_are_read() -> None:
    grid = torch.rand(1, 3, 3, 2)
    assert (sample(torch.ops.aten._efficientzerotensor.default((1, 1, 4, 4)), grid) == 0).all()
