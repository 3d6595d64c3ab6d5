"""The Triton kernels against `reference.py`: on a GPU where there is one, else interpreted on the CPU.

Interpretation shows that the kernels compute what they should, and `test_compiles` that they become machine code.
"""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.sampling.cases import Case, Poison, check, check_wild, coordinates_of, draw
from unwarp.sampling import MODES, gpu, reference, sample

launch: Any = pytest.importorskip("unwarp.sampling.gpu.launch", reason="Triton is not installed")
# NumPy, in which kernels are interpreted, tells of what a GPU computes silently.
pytestmark = pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|overflow):RuntimeWarning")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOOL = Path(__file__).parents[2] / "tools" / "compile_kernels.py"
on_a_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")


@pytest.fixture(autouse=True)
def _maxima_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's maximum of NaN and a number is NaN, that of a GPU the number, if nothing else is said."""
    from triton.runtime import interpreter

    builder = interpreter.InterpreterBuilder
    monkeypatch.setattr(builder, "create_maxnumf", lambda self, a, b: self.binary_op(a, b, np.fmax))
    monkeypatch.setattr(builder, "create_minnumf", lambda self, a, b: self.binary_op(a, b, np.fmin))


@pytest.fixture(params=[False, True], ids=["", "deterministic"])
def deterministic(request: pytest.FixtureRequest) -> Iterator[bool]:
    torch.use_deterministic_algorithms(request.param)
    yield request.param
    torch.use_deterministic_algorithms(False)


def on_device(case: Case) -> Case:
    return case._replace(**{k: v.to(DEVICE) for k, v in case._asdict().items() if isinstance(v, Tensor)})


def check_all(case: Case) -> None:
    """`check`, and both gradients at once."""
    check(launch, case)
    with Poison():
        found = launch.gradients(case.grad_out, case.image, case.coordinates, *case.how, case.fill)
    leaves = case.image.clone().requires_grad_(), case.coordinates.clone().requires_grad_()
    value = reference.read(*leaves, case.size, *case.how, case.fill)
    wanted = torch.autograd.grad(value, leaves, case.grad_out, materialize_grads=True)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@given(data=st.data())
@settings(max_examples=12, phases=[Phase.generate])  # shrinking interprets for minutes
def test_values_and_gradients_are_those_of_the_reference(ndim: int, data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(MODES[:4] if ndim == 3 else MODES))
    extents = (1, 2, 3, 5, 9)[: 6 - ndim]
    case = draw(data, mode, ndim, extents=extents, channels=(0, 1, 3), images=(0, 1, 2))
    torch.use_deterministic_algorithms(data.draw(st.booleans()))
    try:
        check(launch, on_device(case))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("padding", ["zeros", "border", "wrap"])
@pytest.mark.parametrize("kind", ["wild", "wild projective"])
@pytest.mark.parametrize("ndim", [1, 2])
def test_matrices_that_are_not_finite_read_as_by_the_reference(
    deterministic: bool, ndim: int, kind: str, padding: str
) -> None:
    check_wild(launch, kind, ndim, padding, DEVICE)


@pytest.mark.parametrize(
    ("ndim", "kind", "mode"), [(1, "far", "cubic"), (2, "projective", "linear"), (3, "grid", "linear")]
)
@pytest.mark.parametrize("padding", ["constant", "wrap"])
def test_both_gradients_at_once_are_those_of_the_reference(ndim: int, kind: str, mode: str, padding: str) -> None:
    image, grad_out = torch.randn(2, 3, *(5, 4, 3)[:ndim]).double(), torch.randn(4, 3, *(3, 6, 4)[:ndim]).double()
    coordinates = coordinates_of(kind, 4, tuple(grad_out.shape[2:]), torch.float64)
    fill = torch.randn(3).double() if padding == "constant" else None
    check_all(on_device(Case(image, coordinates, grad_out, (kind != "grid", mode, (padding,) * ndim), fill)))


@pytest.mark.parametrize(
    ("kind", "channels", "size", "dense"),
    [
        ("affine", 3, (300,), True),
        ("affine", 1, (16, 24), True),
        ("affine", 9, (8, 16), False),
        ("projective", 1, (16, 24), True),
        ("grid", 2, (16, 24), True),
        ("affine", 1, (3, 8, 8), True),
        ("projective", 2, (4, 8, 8), True),
        ("grid", 1, (3, 8, 8), False),
    ],
)
def test_samples_that_are_all_inside_are_those_of_the_reference(
    kind: str, channels: int, size: tuple[int, ...], dense: bool
) -> None:
    image = torch.randn(1, channels, *[extent + 3 for extent in size], dtype=torch.float64)
    if not dense:
        image = image.transpose(-1, 1).contiguous().transpose(-1, 1)
    if kind == "grid":
        coordinates = torch.rand(2, torch.Size(size).numel(), len(size), dtype=torch.float64) - 0.5
    else:
        noise = 0.05 * torch.randn(2, len(size) + 1, len(size) + 1, dtype=torch.float64)
        coordinates = torch.diag(torch.tensor([0.5] * len(size) + [1.0], dtype=torch.float64)) + noise
        coordinates = coordinates if kind == "projective" else coordinates[:, :-1]
    grad_out = torch.randn(2, channels, *size, dtype=torch.float64)
    check_all(on_device(Case(image, coordinates, grad_out, (kind != "grid", "linear", ("zeros",) * len(size)), None)))


@pytest.mark.parametrize(("channels", "dtype"), [(1, torch.float32), (1, torch.float64), (2, torch.float32)])
def test_samples_in_boxes_are_those_of_the_reference(
    monkeypatch: pytest.MonkeyPatch, channels: int, dtype: torch.dtype
) -> None:
    forget_plans()
    monkeypatch.setattr(launch, "_FEWEST_BOXES", 1)
    monkeypatch.setattr(launch, "_MOST_OF_BOXES", 10)
    monkeypatch.setattr(launch, "_DEPTHS", (2,))
    torch.manual_seed(0)
    # Of some boxes all samples are inside, some reach beyond the output; the second map mirrors the volume.
    size, how = (5, 6, 40), (True, "linear", ("zeros",) * 3)
    matrices = torch.eye(3, 4).repeat(2, 1, 1) * 0.9 + 0.05 * torch.randn(2, 3, 4)
    matrices[1, :, 0] *= -1
    tensors = (torch.randn(1, channels, *size), matrices, torch.randn(2, channels, *size))
    image, coordinates, grad_out = (tensor.to(DEVICE, dtype) for tensor in tensors)
    plan = launch._plan_read(launch._layout(image), launch._layout(coordinates), tuple(grad_out.shape), *how, None)
    assert plan.constants["DEPTH"] == 2
    with Poison():
        found = (
            launch.read(image, coordinates, size, *how, None),
            *launch.gradients(grad_out, image, coordinates, *how, None),
            launch.grad_coordinates(grad_out, image, coordinates, *how, None),
        )
    forget_plans()
    leaves = tensors[0].to(DEVICE).double().requires_grad_(), matrices.to(DEVICE).double().requires_grad_()
    value = reference.read(*leaves, size, *how, None)
    of_image, of_matrices = torch.autograd.grad(value, leaves, grad_out.double())
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4
    for one, other in zip(found, (value, of_image, of_matrices, of_matrices), strict=True):
        torch.testing.assert_close(one.double(), other.detach(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kind", ["near", "projective", "grid"])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_float32_is_near_float64(deterministic: bool, kind: str, mode: str) -> None:
    image, grad_out = torch.randn(1, 2, 7, 9, device=DEVICE), torch.randn(2, 2, 6, 8, device=DEVICE)
    coordinates = coordinates_of(kind, 2, (6, 8), torch.float32).to(DEVICE)
    how = ("grid" not in kind, mode, ("zeros",) * 2)
    wide = Case(image.double(), coordinates.double(), grad_out.double(), how, None)
    with Poison():
        found = (
            launch.read(image, coordinates, (6, 8), *how, None),
            launch.grad_image(grad_out, coordinates, image, *how),
            launch.grad_coordinates(grad_out, image, coordinates, *how, None),
        )
    leaves = wide.image.requires_grad_(), wide.coordinates.requires_grad_()
    value = reference.read(*leaves, (6, 8), *how, None)
    wanted = (value.detach(), *torch.autograd.grad(value, leaves, wide.grad_out))
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("kind", ["near", "grid"])
def test_every_element_type_is_within_its_own_rounding(dtype: torch.dtype, kind: str) -> None:
    image = (255 * torch.rand(2, 3, 9, 13, device=DEVICE)).to(dtype)
    coordinates = coordinates_of(kind, 2, (5, 7), torch.float32).to(DEVICE)
    how = ((5, 7), "grid" not in kind, "linear", ("zeros", "border"), None)
    exact = reference.read(image.double(), coordinates.double(), *how)
    result = launch.read(image, coordinates, *how)
    assert result.dtype == dtype
    # The interpreter cuts what a GPU rounds to bfloat16.
    step = 0.5 if dtype == torch.uint8 else 255 * torch.finfo(dtype).eps
    assert (result.double() - exact).abs().max() <= step + 0.02


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gradients_are_summed_in_float32(deterministic: bool, dtype: torch.dtype, padding: str) -> None:
    image = torch.zeros(1, 1, 1, 1, dtype=dtype, device=DEVICE)
    everywhere = torch.zeros(1, 2, 3, device=DEVICE)
    grad_out = torch.ones(1, 1, 1, 1, dtype=dtype, device=DEVICE).expand(1, 1, 50, 60)
    result = launch.grad_image(grad_out, everywhere, image, True, "linear", (padding,) * 2)
    assert result.dtype == dtype
    assert abs(result.item() - 3000) <= 3000 * torch.finfo(dtype).eps


def test_aligned_samples_are_the_pixels_bit_for_bit() -> None:
    turned = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, -1, 0], [1, 0, 0]], [[1, 0, 2 / 17], [0, 1, 0]]])
    for dtype in (torch.float32, torch.float16, torch.uint8):
        image = (255 * torch.rand(1, 1, 17, 17, device=DEVICE)).to(dtype)
        for mode in ("linear", "cubic", "nearest"):
            found = launch.read(image, turned.to(DEVICE), (17, 17), True, mode, ("wrap",) * 2, None)
            wanted = torch.cat([image, image.rot90(1, (2, 3)), image.roll(-1, 3)])
            assert torch.equal(found, wanted)


def test_halves_of_uint8_are_rounded_to_even() -> None:
    image = torch.arange(256, dtype=torch.uint8, device=DEVICE).reshape(1, 1, 16, 16)
    between = torch.tensor([[[1.0, 0, 1 / 16], [0, 1, 0]]], device=DEVICE)
    how = ((16, 16), True, "linear", ("border",) * 2, None)
    assert torch.equal(launch.read(image, between, *how), reference.read(image, between, *how))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maps_that_cannot_be_gathered_are_scattered(dtype: torch.dtype) -> None:
    image = torch.zeros(3, 2, 6, 7, dtype=dtype, device=DEVICE)
    maps = {
        "identity": [[1.0, 0, 0], [0, 1, 0]],
        "one point": [[0, 0, 0.1], [0, 0, 0.2]],
        "a line": [[1, 1, 0], [1, 1, 0]],
        "hardly a plane": [[1, 1, 0], [1, 1.0001, 0]],
        "shrinks": [[50, 3, 0], [-3, 50, 0]],
        "enlarges": [[0.01, 0, 0], [0, 0.02, 0]],
        "squeezes": [[8, 0, 0], [0, 0.1, 0]],
        "not a number": [[torch.nan, 0, 0], [0, 1, 0]],
        "infinite": [[torch.inf, 0, 0], [0, 1, 0]],
    }
    matrices = torch.tensor(list(maps.values()), dtype=dtype, device=DEVICE)
    grad_out = torch.randn(len(maps), 2, 5, 9, dtype=dtype, device=DEVICE)
    how = (True, "linear", ("zeros",) * 2)
    wide = image.double().requires_grad_()
    (wanted,) = torch.autograd.grad(
        reference.read(wide, matrices.double(), (5, 9), *how, None), wide, grad_out.double()
    )
    with Poison():
        found = launch.grad_image(grad_out, matrices, image, *how)
    torch.testing.assert_close(found, wanted.to(dtype))


def test_many_maps_of_an_image_are_scattered(monkeypatch: pytest.MonkeyPatch) -> None:
    image, maps = torch.zeros(1, 2, 6, 7, device=DEVICE), coordinates_of("near", 3, (5, 4), torch.float32).to(DEVICE)
    grad_out, how = torch.randn(3, 2, 5, 4, device=DEVICE), (True, "linear", ("zeros",) * 2)
    torch.use_deterministic_algorithms(True)
    try:
        gathered = launch.grad_image(grad_out, maps, image, *how)
        forget_plans()
        monkeypatch.setattr(launch, "_MOST_GATHERED", 2)
        layouts = launch._layout(image), launch._layout(grad_out.flatten(2)), launch._layout(maps)
        assert not launch._plan_exactly(*layouts, (3, 2, 5, 4), *how)[2].constants["GATHERS"]
        torch.testing.assert_close(launch.grad_image(grad_out, maps, image, *how), gathered)
    finally:
        torch.use_deterministic_algorithms(False)
        forget_plans()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_order_of_the_samples_changes_no_bit(dtype: torch.dtype) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        image, points = (
            torch.zeros(1, 2, 3, 4, dtype=dtype, device=DEVICE),
            torch.rand(1, 300, 2, device=DEVICE) * 2 - 1,
        )
        grad_out, order = torch.randn(1, 2, 300, dtype=dtype, device=DEVICE), torch.randperm(300, device=DEVICE)
        results = [
            launch.grad_image(g.unflatten(2, (20, 15)), p, image, False, "cubic", ("border", "wrap"))
            for g, p in ((grad_out, points), (grad_out[:, :, order], points[:, order]))
        ]
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*results)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_whole_numbers_are_as_exact_as_documented(scale: float) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        image, grad_out = torch.zeros(1, 1, 4, 4, device=DEVICE), torch.randn(1, 1, 15, 16, device=DEVICE) * scale
        points = coordinates_of("grid", 1, (15, 16), torch.float32).to(DEVICE)
        how = (False, "linear", ("border",) * 2)
        found = launch.grad_image(grad_out, points, image, *how)
        wide = image.double().requires_grad_()
        value = reference.read(wide, points.double(), (15, 16), *how, None)
        (wanted,) = torch.autograd.grad(value, wide, grad_out.double())
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(found.double() / scale, wanted / scale, atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_shows(value: float) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        grad_out, image = torch.ones(2, 1, 3, 3, device=DEVICE), torch.zeros(2, 1, 3, 3, device=DEVICE)
        grad_out[0, 0, 1, 1] = value
        points = coordinates_of("grid", 2, (3, 3), torch.float32).to(DEVICE)
        result = launch.grad_image(grad_out, points, image, False, "linear", ("border",) * 2)
    finally:
        torch.use_deterministic_algorithms(False)
    assert result[0].isnan().all()
    assert result[1].isfinite().all()


def test_strided_arguments_are_read_where_they_lie() -> None:
    whole = torch.randn(4, 6, 8, 9, device=DEVICE)
    maps = coordinates_of("near", 2, (4, 5), torch.float32).to(DEVICE)
    how = (True, "linear", ("zeros", "border"))
    views = [
        whole[::2, 3:, 1:7, 2:8],
        whole[:2, :3].to(memory_format=torch.channels_last),
        whole[2:, ::2].transpose(2, 3),
        whole[:1, :3].expand(2, -1, -1, -1),
    ]
    for view in views:
        found = launch.read(view, maps, (4, 5), *how, None)
        assert torch.equal(found, launch.read(view.contiguous(), maps, (4, 5), *how, None))
    gradient = torch.randn(1, 3, 1, 1, device=DEVICE).expand(2, 3, 4, 5)
    transposed = maps.transpose(1, 2).contiguous().transpose(1, 2)
    for values in (gradient, torch.randn(2, 4, 5, 3, device=DEVICE).movedim(-1, 1)):
        for operator in (launch.grad_image, launch.grad_coordinates):
            rest = (maps, views[1], *how) if operator is launch.grad_image else (views[1], maps, *how, None)
            same = [transposed if value is maps else value for value in rest]
            assert torch.equal(operator(values, *same), operator(values.contiguous(), *rest))


def forget_plans() -> None:
    for plan in (launch._plan_read, launch._plan_grad_coordinates, launch._plan_scatter, launch._plan_exactly):
        plan.cache_clear()


def test_offsets_of_64_bits_read_the_same(monkeypatch: pytest.MonkeyPatch, deterministic: bool) -> None:
    import triton.language as tl

    image, grad_out = torch.randn(1, 2, 3, 4, 3, device=DEVICE), torch.randn(2, 2, 3, 2, 4, device=DEVICE)
    results = []
    for kind in ("near", "grid"):
        torch.manual_seed(1)
        at = coordinates_of(kind, 2, (3, 2, 4), torch.float32).to(DEVICE)
        how = (kind == "near", "linear", ("zeros", "reflection", "zeros"))
        for index in (tl.int32, tl.int64):
            monkeypatch.setattr(launch, "_index", lambda *_, index=index, **_out: index)
            forget_plans()
            results.append(
                (launch.read(image, at, (3, 2, 4), *how, None), launch.grad_image(grad_out, at, image, *how))
            )
    forget_plans()
    for narrow, wide in (results[:2], results[2:]):
        assert torch.equal(narrow[0], wide[0])
        torch.testing.assert_close(narrow[1], wide[1])


def test_offsets_are_of_64_bits_where_32_do_not_hold_them() -> None:
    import triton.language as tl

    large, small = torch.empty(1, 1, 2**16, 2**16, device="meta"), torch.empty(2**20, 1, 2**6, 2**6, device="meta")
    assert launch._index(launch._layout(large), launch._layout(small), dense=[]) == tl.int64
    assert launch._index(launch._layout(small), dense=[]) == tl.int32
    assert launch._index(launch._layout(small), dense=[(1, 1, 2**31)]) == tl.int64


@pytest.mark.parametrize("linear", [True, False])
def test_samples_are_numbered_with_64_bits_where_32_do_not_hold_them(linear: bool) -> None:
    import triton.language as tl

    # As the gradient of a sum, the picture and the grid are of few elements that stand for many.
    samples = 2**31 if linear else 2**30
    image, gradient = torch.empty(1, 1, 8, 8, device="meta"), torch.empty(1, 1, 1, device="meta").expand(1, 1, samples)
    at = torch.empty(1, 2, 3, device="meta") if linear else torch.empty(1, 1, 1, device="meta").expand(1, samples, 2)
    layouts = launch._layout(image), launch._layout(gradient), launch._layout(at)
    how = (1, 1, samples // 2**15, 2**15), linear, "linear", ("zeros",) * 2
    launches = [launch._plan_grad_coordinates(*layouts, *how, None, False)[0]]
    if linear:
        launches += [launch._plan_scatter(*layouts, *how), *launch._plan_exactly(*layouts, *how)[1:]]
    for plan in launches:
        assert plan.constants["INDEX"] == tl.int64


class Called(TorchDispatchMode):
    """Counts calls of our operators."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += str(func).startswith("unwarp.read")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("mode", "ndim", "antialias", "kernels"),
    [("linear", 2, True, 1), ("spline5", 2, False, 1), ("spline3", 3, False, 1), ("spline4", 3, False, 0)],
)
def test_what_is_not_written_falls_back_to_the_reference(mode: str, ndim: int, antialias: bool, kernels: int) -> None:
    with FakeTensorMode(), Called() as called:
        image = torch.empty(2, 3, *(4, 5, 6)[:ndim], device="cuda")
        grid = torch.empty(2, *(3, 3, 3)[:ndim], ndim, device="cuda")
        result = sample(image, grid, mode=mode, antialias=antialias)
    assert result.shape == (2, 3, *(3, 3, 3)[:ndim])
    assert result.is_cuda
    assert called.count == kernels


def test_splines_of_many_taps_are_up_to_the_reference() -> None:
    image, grid = torch.rand(1, 1, 4, 5, 3), torch.rand(1, 8, 3)
    how = ((2, 2, 2), False, "spline4", ("zeros",) * 3, None)
    assert torch.equal(gpu.read(image, grid, *how), reference.read(image, grid, *how))
    with pytest.raises(NotImplementedError, match="spline4 in volumes"):
        gpu.grad_image(torch.rand(1, 1, 2, 2, 2), grid, image, *how[1:-1])


def footprints_of(count: int, size: tuple[int, ...], shrink: float) -> Tensor:
    """Footprints in which an output pixel covers about so much of the picture, some of them not finite."""
    ndim = len(size)
    footprints = torch.randn(count, torch.Size(size).numel(), ndim, ndim + 1, dtype=torch.float64)
    footprints *= torch.tensor([shrink] * ndim + [0.7])
    footprints[0, 0, 0, 0], footprints[-1, -1, 0, -1] = torch.nan, torch.inf
    return footprints


@pytest.mark.parametrize(
    ("ndim", "mode", "padding"),
    [(1, "cubic", "wrap"), (2, "linear", "constant"), (2, "nearest", "border"), (3, "linear", "zeros")],
)
def test_footprints_are_read_as_by_the_reference(deterministic: bool, ndim: int, mode: str, padding: str) -> None:
    size, in_size = (2, 3, 1)[:ndim], ((9,), (6, 5), (3, 4, 2))[ndim - 1]
    image, grad_out = torch.randn(1, 2, *in_size).double(), torch.randn(2, 2, *size).double()
    fill = torch.randn(2).double() if padding == "constant" else None
    case = Case(image, footprints_of(2, size, 0.5), grad_out, (False, mode, (padding,) * ndim), fill)
    check_all(on_device(case))


def test_footprints_that_are_long_along_different_axes_take_no_more_probes_than_one(deterministic: bool) -> None:
    # 30 each; were they to meet, there would be 900, and this would take minutes.
    footprints = torch.zeros(1, 2, 2, 3, dtype=torch.float64)
    footprints[0, 0, 0, 0] = footprints[0, 1, 1, 1] = 2
    footprints[..., 2] = 0.1
    image, grad_out = torch.randn(1, 1, 30, 30).double(), torch.randn(1, 1, 1, 2).double()
    check_all(on_device(Case(image, footprints, grad_out, (False, "linear", ("zeros",) * 2), None)))


def run(*command: str, **environment: str) -> str:
    """What a fresh interpreter, which does not interpret Triton, prints."""
    variables = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | environment
    result = subprocess.run([sys.executable, *command], env=variables, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_triton_is_imported_when_it_is_needed() -> None:
    code = "import sys, unwarp.sampling; from unwarp.sampling import gpu; print(gpu.MISSING, 'triton' in sys.modules)"
    assert run("-c", code).split() == ["False"]
    assert run("-c", "import sys; sys.modules['triton'] = None; " + code).split() == ["Triton", "True"]
    assert run("-c", code, PATH="", CC="").split() == ["C", "compiler", "False"]


@pytest.mark.parametrize("arch", [90])
def test_compiles(arch: int, tmp_path: Path) -> None:
    check_compiled(arch, run(str(TOOL), "--arch", str(arch), TRITON_CACHE_DIR=str(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 90])
def test_compiles_for_all_modes_and_paddings(arch: int, tmp_path: Path) -> None:
    check_compiled(arch, run(str(TOOL), "--arch", str(arch), "--most", TRITON_CACHE_DIR=str(tmp_path)))


def check_compiled(arch: int, text: str) -> None:
    names = ("read", "grad_coordinates", "prepare", "scatter", "finish")
    assert {line.split()[0] for line in text.splitlines()} == {f"sm_{arch}", *names}


@on_a_gpu
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic", "spline2"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
@given(data=st.data())
@settings(max_examples=10)  # each compiles its own kernels
def test_a_gpu_computes_what_the_reference_does(mode: str, ndim: int, data: st.DataObject) -> None:
    extents = (1, 2, 5, 16, 33) if ndim == 3 else (1, 2, 17, 64, 200)
    case = on_device(draw(data, mode, ndim, extents=extents, channels=(0, 1, 3, 8, 21)))
    torch.use_deterministic_algorithms(data.draw(st.booleans()))
    try:
        check_all(case)
    finally:
        torch.use_deterministic_algorithms(False)


@on_a_gpu
@pytest.mark.parametrize(
    ("size", "in_size", "mode"),
    [((40, 31), (200, 180), "linear"), ((40, 31), (50, 60), "cubic"), ((9, 8, 7), (40, 30, 33), "linear")],
)
def test_a_gpu_shrinks_as_the_reference_does(
    deterministic: bool, size: tuple[int, ...], in_size: tuple[int, ...], mode: str
) -> None:
    image, grad_out = torch.randn(2, 3, *in_size).double(), torch.randn(4, 3, *size).double()
    how = (False, mode, ("zeros",) * len(size))
    case = on_device(Case(image, footprints_of(4, size, 0.1), grad_out, how, None))
    check_all(case)
    with warnings.catch_warnings(action="ignore"):  # that it is a prototype
        torch.cuda.set_sync_debug_mode("error")  # nothing may wait for the device
    try:
        launch.read(case.image, case.coordinates, size, *how, None)
        launch.gradients(case.grad_out, case.image, case.coordinates, *how, None)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_a_gpu
@pytest.mark.parametrize("kind", ["near", "far", "singular", "projective", "grid"])
@pytest.mark.parametrize("size", [(128, 200), (40, 50, 60)])
def test_a_gpu_gives_the_same_bits_again(kind: str, size: tuple[int, ...]) -> None:
    coordinates = coordinates_of(kind, 4, size, torch.float32).cuda()
    image, grad_out = torch.randn(2, 3, *size, device="cuda"), torch.randn(4, 3, *size, device="cuda")
    how = ("grid" not in kind, "linear", ("zeros",) * len(size))
    torch.use_deterministic_algorithms(True)
    try:
        first, *others = (
            (
                launch.read(image, coordinates, size, *how, None),
                launch.grad_image(grad_out, coordinates, image, *how),
                launch.grad_coordinates(grad_out, image, coordinates, *how, None),
            )
            for _ in range(5)
        )
    finally:
        torch.use_deterministic_algorithms(False)
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@on_a_gpu
def test_derivatives_compile_and_vmap_on_a_gpu(deterministic: bool) -> None:
    image = torch.randn(1, 1, 4, 5, dtype=torch.float64, device="cuda", requires_grad=True)
    grid = (2 * torch.rand(1, 3, 4, 2, dtype=torch.float64, device="cuda") - 1).requires_grad_()
    assert torch.autograd.gradcheck(sample, (image, grid), nondet_tol=0 if deterministic else 1e-12)
    if not deterministic:  # the second derivative with respect to a grid is the reference's, whose scatters are not
        assert torch.autograd.gradgradcheck(sample, (image, grid), nondet_tol=1e-12)
    compiled = torch.compile(sample, fullgraph=True, dynamic=True)
    torch.testing.assert_close(compiled(image, grid), sample(image, grid))
    together = torch.func.vmap(sample)(image.unsqueeze(1), grid.unsqueeze(1))
    torch.testing.assert_close(together.squeeze(1), sample(image, grid))


@on_a_gpu
def test_a_gpu_reads_beyond_32_bits() -> None:
    if torch.cuda.mem_get_info()[0] < 6 * 2**30:
        pytest.skip("needs 6 GiB of free memory")
    image = torch.zeros(1, 1, 2**16, 2**15 + 8, dtype=torch.uint8, device="cuda")
    image[0, 0, -1, -1] = 200
    corner = torch.tensor([[[0.0, 0, 1 - 1 / (2**15 + 8)], [0, 0, 1 - 1 / 2**16]]], device="cuda")
    assert launch.read(image, corner, (1, 1), True, "linear", ("zeros",) * 2, None).item() == 200
