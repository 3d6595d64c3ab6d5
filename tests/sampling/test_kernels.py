"""The compiled kernels against `reference.py`, which defines what they must compute."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.sampling.cases import KINDS, Case, check, check_wild, coordinates_of, draw
from unwarp.coordinates import identity_grid, linear_grid, to_pixel
from unwarp.sampling import MODES, PADDINGS, cpu, reference
from unwarp.sampling.splines import spline_coefficients

pytestmark = pytest.mark.skipif(not cpu.COMPILED, reason="installed without the compiled kernels")
SETS = cpu.available()
# Around the width of a vector and the length of a block of samples.
EXTENTS = (1, 2, 3, 7, 15, 16, 17, 33)
LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    cpu.choose(request.param)
    yield request.param
    cpu.choose(SETS[0])


@contextmanager
def threads_of(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
@given(data=st.data())
@settings(max_examples=50)
def test_values_and_gradients_are_those_of_the_reference(mode: str, ndim: int, data: st.DataObject) -> None:
    extents = (1, 2, 3, 5, 16) if ndim == 3 else EXTENTS
    case = draw(data, mode, ndim, extents=extents, channels=(0, 1, 2, 3, 8, 16, 21))
    if ndim > 1 and data.draw(st.booleans()):
        case = case._replace(image=case.image.to(memory_format=LAST[ndim]))
    cpu.choose(data.draw(st.sampled_from(SETS)))
    check(cpu, case)
    cpu.choose(SETS[0])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
@given(data=st.data())
@settings(max_examples=50)
def test_single_precision_is_that_of_the_reference_in_double(mode: str, ndim: int, data: st.DataObject) -> None:
    # The paths with a margin, for inner samples and for the nearest pixel, at the width that training uses.
    torch.manual_seed(data.draw(st.integers(0, 10_000)))
    small = st.sampled_from([1, 2, 3, 5, 16]) if ndim == 3 else st.sampled_from([1, 2, 3, 16, 17, 33, 120])
    in_size = tuple(data.draw(small) for _ in range(ndim))
    out_size = tuple(data.draw(st.sampled_from([1, 5, 16, 19])) for _ in range(ndim))
    images, maps, channels = (data.draw(st.sampled_from(choices)) for choices in ([1, 3], [1, 2], [1, 3, 4, 21]))
    kind = data.draw(st.sampled_from(["near", "far", "grid", "wild grid", "projective"]))
    beyond = data.draw(st.sampled_from(PADDINGS))
    padding = (beyond,) * ndim
    fill = torch.randn(channels, dtype=torch.float64) if beyond == "constant" else None
    cpu.choose(data.draw(st.sampled_from(SETS)))

    image = torch.randn(images, channels, *in_size)
    if ndim > 1 and data.draw(st.booleans()):
        image = image.to(memory_format=LAST[ndim])
    coordinates = coordinates_of(kind, images * maps, out_size, torch.float32)
    linear = "grid" not in kind
    exact = coordinates.double()
    positions = to_pixel(linear_grid(exact, out_size).flatten(1, -2) if linear else exact, in_size)
    # Near the horizon a rounding of w moves a sample by pixels, in the reference as well.
    assume(kind != "projective" or bool((positions.abs() < 100).all()))
    positions = positions[torch.isfinite(positions) & (positions.abs() < 1000)]
    # A slope jumps at a pixel's centre, the nearest pixel half-way between two, each within rounding: 2.9e-5 pixels of
    # 120 in float32, and as much again for the position itself.
    distance = (positions - (0.5 if mode == "nearest" else 0.0)).frac().abs()
    assume(not (torch.minimum(distance, 1 - distance) < (6e-5 if kind == "near" else 2e-4)).any())

    grad_out = torch.randn(images * maps, channels, *out_size)
    how = (linear, mode, padding)
    leaves = image.double().requires_grad_(), exact.requires_grad_()
    wanted = reference.read(leaves[0], leaves[1], out_size, *how, fill)
    for_image, for_points = torch.autograd.grad(wanted, leaves, grad_out.double(), materialize_grads=True)
    for found, right in (
        (cpu.read(image, coordinates, out_size, *how, fill), wanted.detach()),
        (cpu.grad_image(grad_out, coordinates, image, *how), for_image),
        (cpu.grad_coordinates(grad_out, image, coordinates, *how, fill), for_points),
    ):
        scale = max(1.0, right.abs().max().item())
        assert (found - right).abs().max().item() <= 2e-3 * scale
    cpu.choose(SETS[0])


def test_points_may_lie_axis_by_axis(instruction_set: str) -> None:
    image, points = torch.randn(2, 3, 12, 18), coordinates_of("wild grid", 4, (9, 31), torch.float32)
    apart = points.transpose(1, 2).contiguous().transpose(1, 2)
    grad_out = torch.randn(4, 3, 9, 31)
    how = (False, "linear", ("zeros", "border"))
    assert torch.equal(cpu.read(image, apart, (9, 31), *how, None), cpu.read(image, points, (9, 31), *how, None))
    for gradient in (
        lambda at: cpu.grad_image(grad_out, at, image, *how),
        lambda at: cpu.grad_coordinates(grad_out, image, at, *how, None),
    ):
        assert torch.equal(gradient(apart), gradient(points))


@pytest.mark.parametrize("kind", ["near", "projective", "grid"])
@pytest.mark.parametrize(
    ("channels", "in_size", "out_size"),
    [(2, (40, 30), (131, 515)), (17, (6, 5, 9), (3, 23, 512)), (2, (700, 760), (70, 530))],
)
def test_wide_outputs_are_read_in_tiles_of_rows(
    instruction_set: str, kind: str, channels: int, in_size: tuple[int, ...], out_size: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    image = torch.randn(1, channels, *in_size, dtype=torch.float64)
    coordinates = coordinates_of(kind, 2, out_size, torch.float64)
    how = (kind != "grid", "linear", ("zeros",) * len(in_size))
    check(cpu, Case(image, coordinates, torch.randn(2, channels, *out_size, dtype=torch.float64), how, None))


@pytest.mark.parametrize("padding", ["zeros", "border", "wrap"])
@pytest.mark.parametrize("kind", ["wild", "wild projective"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_matrices_that_are_not_finite_read_as_by_the_reference(
    instruction_set: str, kind: str, ndim: int, padding: str
) -> None:
    check_wild(cpu, kind, ndim, padding)


@pytest.mark.parametrize("kind", ["near", "far", "projective", "grid", "wild grid"])
@pytest.mark.parametrize("size", [(5, 19, 7), (18, 33, 70), (2, 1, 300)])
def test_large_turned_volumes_are_read_in_bricks(instruction_set: str, kind: str, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 2, 64, 128, 129, dtype=torch.float64)
    coordinates, grad_out = coordinates_of(kind, 2, size, torch.float64), torch.randn(2, 2, *size, dtype=torch.float64)
    for padding in ("zeros", "reflection"):
        how = ("grid" not in kind, "linear", (padding,) * 3)
        check(cpu, Case(image, coordinates, grad_out, how, None))
        check(cpu, Case(image.to(memory_format=torch.channels_last_3d), coordinates, grad_out, how, None))


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("kind", ["near", "projective"])
def test_gradients_of_large_pictures_are_those_of_the_reference(instruction_set: str, kind: str, channels: int) -> None:
    torch.manual_seed(0)
    image, size = torch.randn(1, channels, 300, 520), (290, 530)
    coordinates, grad_out = coordinates_of(kind, 1, size, torch.float32), torch.randn(1, channels, *size)
    how = (True, "linear", ("zeros", "border"))
    leaf = image.double().requires_grad_()
    wanted = reference.read(leaf, coordinates.double(), size, *how, None)
    (wanted,) = torch.autograd.grad(wanted, leaf, grad_out.double())
    found = cpu.grad_image(grad_out, coordinates, image, *how)
    assert (found - wanted).abs().max().item() <= 2e-3 * wanted.abs().max().item()


def test_threads_that_share_bricks_change_no_bit() -> None:
    for kind in ("near", "wild grid"):
        _check_threads(torch.randn(1, 1, 128, 129, 130), kind, "linear", ("zeros",) * 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("angle", [0.0, 0.1, 0.8, 3.0])
def test_windows_of_large_pictures_are_read_as_the_pictures(
    instruction_set: str, angle: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    size, extent = (150, 700), 2100
    image = torch.randn(1, 2, extent, extent).to(dtype)
    spread = torch.stack([image, image], dim=-1)[..., 0]  # no windows are made of this
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    scaled = turn * torch.tensor([size[1] / extent, size[0] / extent])
    # A map that stays within the picture, one that leaves it with some of its tiles, one that shrinks too much.
    shifts = torch.tensor([[0.1, -0.2], [0.8, 0.9], [0.0, 0.0]])
    coordinates = torch.cat([scaled * torch.tensor([1.0, 1.0, 2.9]).reshape(3, 1, 1), shifts.unsqueeze(-1)], dim=-1)
    grad_out, how = torch.randn(3, 2, *size), (True, "linear", ("zeros", "border"))
    values = cpu.read(image, coordinates, size, *how, None)
    assert torch.equal(values, cpu.read(spread, coordinates, size, *how, None))
    gradients = (cpu.grad_coordinates(grad_out, source, coordinates, *how, None) for source in (image, spread))
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    wanted = reference.read(image.double(), coordinates.double(), size, *how, None)
    atol = 0.05 if dtype == torch.bfloat16 else 0.005  # of positions up to 2100, in float32
    torch.testing.assert_close(values.double(), wanted, rtol=0, atol=atol)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_pixels_that_a_sample_does_not_touch_do_not_touch_it(instruction_set: str, mode: str, padding: str) -> None:
    image = torch.rand(1, 1, 9, 20)
    spoilt = image.clone()
    spoilt[..., 4] = torch.nan
    # From 0.9 to 2.9 and from 5.1 to 18.9 pixels, a bit more than one pixel apart.
    x = torch.cat([torch.linspace(0.9, 2.9, 3), torch.linspace(5.1, 18.9, 14)])
    points = torch.stack([(2 * x - 19) / 20, torch.zeros(17)], dim=-1).unsqueeze(0)
    how = (points, (17, 1), False, mode, (padding,) * 2, None)
    assert torch.equal(cpu.read(spoilt, *how), cpu.read(image, *how))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.uint8])
@pytest.mark.parametrize("kind", ["near", "grid", "projective"])
@pytest.mark.parametrize("channels", [1, 3, 32])
def test_every_element_type_is_within_its_own_rounding(
    instruction_set: str, dtype: torch.dtype, kind: str, channels: int
) -> None:
    image = (255 * torch.rand(4, channels, 19, 23)).to(dtype)
    coordinates = coordinates_of(kind, 8, (9, 31), torch.float32)
    how = ((9, 31), "grid" not in kind, "linear", ("zeros", "border"), None)
    exact = reference.read(image.double(), coordinates.double(), *how)
    result = cpu.read(image, coordinates, *how)
    assert result.dtype == dtype
    step = 0.5 if dtype == torch.uint8 else 255 * torch.finfo(dtype).eps
    assert (result.double() - exact).abs().max() <= step + 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_as_torch_rounds(instruction_set: str, dtype: torch.dtype) -> None:
    pixels = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16).view(dtype).reshape(1, 1, 256, 256)
    pixels = torch.where(pixels.isfinite(), pixels, torch.zeros_like(pixels))
    identity = torch.eye(2, 3).unsqueeze(0)
    same = cpu.read(pixels, identity, (256, 256), True, "linear", ("zeros",) * 2, None)
    assert torch.equal(same, pixels)
    between = torch.tensor([[[1.0, 0, 1 / 256], [0, 1, 0]]])  # half a pixel to the right
    result = cpu.read(pixels, between, (256, 256), True, "linear", ("zeros",) * 2, None)
    wide = cpu.read(pixels.float(), between, (256, 256), True, "linear", ("zeros",) * 2, None)
    assert torch.equal(result, wide.to(dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3, 32])
@pytest.mark.parametrize("images", [1, 6])
@pytest.mark.parametrize("size", [(40, 50), (12, 20, 21), (70, 530)])
@pytest.mark.parametrize("last", [False, True])
def test_threads_change_no_bit(kind: str, channels: int, images: int, size: tuple[int, ...], last: bool) -> None:
    image = torch.randn(images, channels, *size)
    if last:
        image = image.to(memory_format=LAST[len(size)])
    _check_threads(image, kind, "linear", ("zeros", "border", "zeros")[: len(size)])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("beyond", ["zeros", *PADDINGS[2:]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_that_share_an_image_change_no_bit(
    instruction_set: str, mode: str, beyond: str, dtype: torch.dtype
) -> None:
    for size in ((64, 50), (24, 9, 11), (16, 530), (5000,)):
        image = torch.randn(1, 2, *size, dtype=dtype)
        for kind in ("near", "wild grid"):
            _check_threads(image, kind, mode, (beyond, *["zeros"] * (len(size) - 1)))


def _check_threads(image: torch.Tensor, kind: str, mode: str, padding: tuple[str, ...]) -> None:
    size = image.shape[2:]
    coordinates = coordinates_of(kind, image.shape[0] * 2, size, image.dtype)
    grad_out = torch.randn(image.shape[0] * 2, image.shape[1], *size, dtype=image.dtype)
    how = ("grid" not in kind, mode, padding)
    results = []
    for threads in (1, 2, 5, 2):
        with threads_of(threads):
            results.append(
                (
                    cpu.read(image, coordinates, size, *how, None),
                    cpu.grad_image(grad_out, coordinates, image, *how),
                    cpu.grad_coordinates(grad_out, image, coordinates, *how, None),
                )
            )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("channels", [1, 3, 4, 17, 32])
@pytest.mark.parametrize("size", [(40,), (19, 23), (1, 1), (6, 5, 9)])
@pytest.mark.parametrize("last", [False, True])
def test_the_gradient_of_the_image_begins_at_zero(
    instruction_set: str, mode: str, channels: int, size: tuple[int, ...], last: bool
) -> None:
    image = torch.randn(5, channels, *size)
    if last and len(size) > 1:
        image = image.to(memory_format=LAST[len(size)])
    grad_out = torch.randn(5, channels, *size)
    for kind in ("near", "grid"):
        coordinates = coordinates_of(kind, 5, size, torch.float32)
        arguments = (grad_out, coordinates, image, kind == "near", mode, ("zeros",) * len(size))
        wanted = cpu.grad_image(*arguments)
        torch.use_deterministic_algorithms(True)  # fresh memory is not a number
        try:
            assert torch.equal(cpu.grad_image(*arguments), wanted)
        finally:
            torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [2, 32])
def test_the_gradient_of_the_image_is_the_transpose(instruction_set: str, mode: str, channels: int) -> None:
    image, grad_out = torch.randn(4, channels, 9, 11).double(), torch.randn(4, channels, 8, 7).double()
    coordinates = coordinates_of("near", 4, (8, 7), torch.float64)
    how = (True, mode, ("border", "reflection"))
    there = (cpu.read(image, coordinates, (8, 7), *how, None) * grad_out).sum()
    back = (image * cpu.grad_image(grad_out, coordinates, image, *how)).sum()
    torch.testing.assert_close(there, back)


@pytest.mark.parametrize("channels", [3, 32])
def test_strided_images_are_read_where_they_lie(instruction_set: str, channels: int) -> None:
    whole = torch.randn(8, 2 * channels, 12, 18)
    coordinates = coordinates_of("near", 4, (9, 10), torch.float32)
    how = ((9, 10), True, "linear", ("zeros",) * 2, None)
    views = [
        whole[::2, channels:, 1:10, 2:17],
        whole[:4, :channels].to(memory_format=torch.channels_last),
        whole[4:, ::2].transpose(2, 3),
        whole[:1, :channels].expand(4, -1, -1, -1),
        whole[:4, :channels, ::2, ::3],
    ]
    for view in views:
        # Many channels that lie last are added up in another order.
        found, wanted = (cpu.read(image, coordinates, *how) for image in (view, view.contiguous()))
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("padding", ["zeros", "border", "wrap"])
@pytest.mark.parametrize("channels", [3, 4])
def test_few_channels_that_lie_last_are_read_as_planes(instruction_set: str, channels: int, padding: str) -> None:
    # Wider than what is copied with a margin; samples come to the last pixel, too.
    image = torch.randn(2, channels, 20, 130)
    coordinates = coordinates_of("near", 4, (21, 140), torch.float32)
    grad_out, how = torch.randn(4, channels, 21, 140), (True, "linear", (padding,) * 2)
    last = image.contiguous(memory_format=torch.channels_last)
    found, wanted = (cpu.read(source, coordinates, (21, 140), *how, None) for source in (last, image))
    assert torch.equal(found, wanted)
    found, wanted = (cpu.grad_coordinates(grad_out, source, coordinates, *how, None) for source in (last, image))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_stay_last_where_there_are_many(ndim: int, dtype: torch.dtype) -> None:
    size = (9, 8, 7)[:ndim]
    for channels in (3, 16, 40):
        image = torch.randn(2, channels, *size).to(dtype).to(memory_format=LAST[ndim])
        coordinates = coordinates_of("near", 2, size, torch.float32)
        how = (True, "linear", ("zeros",) * ndim)
        beside = LAST[ndim] if channels >= 16 and dtype == torch.float32 else torch.contiguous_format
        out = cpu.read(image, coordinates, size, *how, None)
        assert out.is_contiguous(memory_format=beside)
        assert cpu.grad_image(out, coordinates, image, *how).is_contiguous(memory_format=beside)


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("kind", ["near", "grid"])
def test_gradients_may_lie_in_memory_as_they_like(kind: str, channels: int) -> None:
    torch.manual_seed(0)
    image, size = torch.randn(2, channels, 6, 7, 8), (5, 9, 4)
    points = coordinates_of(kind, 2, size, torch.float32)
    words = (kind != "grid", "linear", ("zeros",) * 3)
    gradients = {
        "of a sum along depth": torch.randn(2, channels, 1, 9, 4).expand(-1, -1, 5, -1, -1),
        "of a transpose": torch.randn(2, channels, 4, 9, 5).transpose(2, 4),
        "of a slice": torch.randn(2, channels, 5, 9, 8)[..., ::2],
        "of a total": torch.randn(2, channels, 1, 1, 1).expand(-1, -1, *size),
        "with channels last": torch.randn(2, *size, channels).movedim(4, 1),
    }
    for name, gradient in gradients.items():
        copy = gradient.contiguous()
        found, wanted = (cpu.grad_coordinates(g, image, points, *words, None) for g in (gradient, copy))
        torch.testing.assert_close(found, wanted, msg=name)
        found, wanted = (cpu.grad_image(g, points, image, *words) for g in (gradient, copy))
        torch.testing.assert_close(found, wanted, msg=name)


def test_offsets_that_do_not_fit_32_bits_are_read_in_64() -> None:
    # A view with huge strides over little memory is not possible; a shape that only claims to be large is enough here.
    image = torch.empty(1, 1, 2**16, 2**16, device="meta")
    assert cpu.computing_dtype(image, torch.empty(0)) == torch.float64


@pytest.mark.slow
def test_more_elements_than_32_bits_count() -> None:
    if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") < 6 * 2**30:
        pytest.skip("needs 6 GiB of free memory")
    image = torch.zeros(1, 1, 2**16, 2**15 + 8, dtype=torch.uint8)
    image[0, 0, -1, -1] = 200
    corner = torch.tensor([[[0.0, 0, 1 - 1 / (2**15 + 8)], [0, 0, 1 - 1 / 2**16]]], dtype=torch.float64)
    assert cpu.read(image, corner, (1, 1), True, "linear", ("zeros",) * 2, None).item() == 200


def test_a_forked_child_does_not_hang() -> None:
    image, coordinates = torch.rand(4, 3, 64, 64), coordinates_of("near", 4, (64, 64), torch.float32)
    how = ((64, 64), True, "linear", ("zeros",) * 2, None)
    before = cpu.read(image, coordinates, *how).numpy().tobytes()
    child = os.fork()
    if child == 0:
        # Compared as bytes: torch's own parallel operators do hang in a forked child.
        same = cpu.read(image, coordinates, *how).numpy().tobytes() == before
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.startswith("spline")])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(1,), (40,), (3, 33), (19, 2), (5, 70, 3), (3, 4, 200), (2000,)])
def test_coefficients_of_splines_are_the_same_for_any_number_of_threads(
    mode: str, padding: str, size: tuple[int, ...]
) -> None:
    beyond = (padding,) * len(size)
    generator = torch.Generator().manual_seed(0)
    # Some 20,000 pixels: more than one thread takes.
    count = 20_000 // math.prod(size)
    double, other = torch.randn(2, count, 3, *size, dtype=torch.float64, generator=generator)
    grid = identity_grid(size, dtype=torch.float64).flatten(0, -2).expand(count, -1, -1)
    for image in (double, double.float()):
        found = {}
        for threads in (1, 2):
            with threads_of(threads):
                found[threads] = spline_coefficients(image, mode, beyond)
        assert torch.equal(found[1], found[2])
        again = reference.read(found[1].double(), grid, size, False, mode, beyond, None)
        torch.testing.assert_close(again.to(image.dtype), image)
    # Their gradient is the transpose.
    leaf = double.clone().requires_grad_()
    coefficients = spline_coefficients(leaf, mode, beyond)
    (gradient,) = torch.autograd.grad(coefficients, leaf, other)
    torch.testing.assert_close((gradient * double).sum(), (coefficients * other).sum())


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_pixels_of_long_axes_stay_where_they_are(mode: str, padding: str) -> None:
    # Two ulps of a coordinate are a pixel here.
    image = torch.arange(2.0**22).reshape(1, 1, -1)
    how = torch.eye(1, 2).unsqueeze(0), (image.shape[2],), True, mode, (padding,), None
    assert torch.equal(reference.read(image, *how), image)
    for one in SETS:
        cpu.choose(one)
        assert torch.equal(cpu.read(image, *how), image)
    cpu.choose(SETS[0])


def test_a_row_that_stands_for_many_is_not_read_beyond_its_end(instruction_set: str) -> None:
    # Channel after channel, as of a whole image, but of each only the last row; AddressSanitizer sees what goes beyond.
    image = torch.rand(2, 40, 12, 16)
    rows = image[:, :, -1:].expand_as(image)
    maps = coordinates_of("near", 2, (24, 32), torch.float32)
    how = maps, (24, 32), True, "linear", ("border", "border"), None
    assert torch.equal(cpu.read(rows, *how), cpu.read(rows.contiguous(), *how))
