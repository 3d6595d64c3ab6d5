import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import Unsupported
from torch.export import Dim

from unwarp.nn import SpatialTransformer, fully_connected
from unwarp.sampling import sample
from unwarp.transforms import Affine, Bounded, Projective, ThinPlateSpline, Transform
from unwarp.warping import warp, warp_adjoint


@pytest.mark.parametrize("transform", [Affine(), Projective(), ThinPlateSpline()], ids=repr)
def test_compiles_whole_and_once_for_all_sizes(transform: Transform) -> None:
    torch._dynamo.reset()
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        graphs.append(graph)
        return graph.forward

    def straighten(image: Tensor, theta: Tensor) -> Tensor:
        return warp(image, transform(theta), padding="border")

    compiled = torch.compile(straighten, backend=backend, fullgraph=True, dynamic=True)
    theta = (transform.identity + 0.1 * torch.randn(2, transform.num_params)).requires_grad_()
    for size in ((11, 9), (12, 7), (31, 20)):
        image = torch.rand(2, 3, *size)
        result = compiled(image, theta)
        torch.testing.assert_close(result, straighten(image, theta))
        result.sum().backward()
    assert len(graphs) == 1


@pytest.mark.parametrize("mode", ["linear", "spline3"])
def test_forward_mode_is_compiled_too(mode: str) -> None:
    torch._dynamo.reset()
    arguments = torch.rand(1, 1, 5, 6), torch.rand(1, 2, 3, 2)
    directions = torch.rand(1, 1, 5, 6), torch.rand(1, 2, 3, 2)

    def along(*at: Tensor) -> Tensor:
        return torch.func.jvp(lambda image, grid: sample(image, grid, mode=mode), at, directions)[1]

    compiled = torch.compile(along, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), along(*arguments))


@pytest.mark.parametrize("derive", [torch.func.grad, torch.func.jacrev, torch.func.jacfwd, torch.func.hessian])
def test_derivatives_of_torch_func_are_compiled_too(derive: Any) -> None:
    torch._dynamo.reset()
    image, grids = torch.rand(1, 1, 5, 6), torch.rand(3, 1, 2, 3, 2)
    derivative = derive(lambda grid: sample(image, grid, mode="cubic").square().sum())
    found = torch.compile(derivative, fullgraph=True, backend="aot_eager")(grids[0])
    torch.testing.assert_close(found, derivative(grids[0]))
    if derive is torch.func.grad:  # one vmap in another, as of the others, the compiler does not know
        mapped = torch.func.vmap(derivative)
        torch.testing.assert_close(torch.compile(mapped, fullgraph=True, backend="aot_eager")(grids), mapped(grids))


def test_compiled_vmap_reads_by_the_kernels() -> None:
    torch._dynamo.reset()
    image, grids, called = torch.rand(1, 1, 5, 6), torch.rand(3, 1, 2, 3, 2), []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        called.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    mapped = torch.func.vmap(lambda grid: sample(image, grid))
    torch.testing.assert_close(torch.compile(mapped, fullgraph=True, backend=backend)(grids), mapped(grids))
    assert "unwarp.read.default" in called


def test_derivatives_of_splines_in_torch_func_are_refused_by_the_compiler() -> None:
    torch._dynamo.reset()
    grid = torch.rand(1, 2, 3, 2)
    derivative = torch.func.grad(lambda image: sample(image, grid, mode="spline3").square().sum())
    compiled = torch.compile(derivative, fullgraph=True, backend="aot_eager")
    with pytest.raises(Unsupported, match="no derivatives of B-splines"):
        compiled(torch.rand(1, 1, 5, 6))


@pytest.mark.parametrize("mode", ["linear", "spline3"])
def test_the_adjoint_compiles_and_is_exported(mode: str) -> None:
    torch._dynamo.reset()
    values, pull = torch.rand(1, 2, 4, 3), Affine()(Affine().identity + 0.1 * torch.randn(1, 6))

    class Adjoint(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return warp_adjoint(values, pull, (5, 6), mode=mode)

    wanted = Adjoint()(values)
    compiled = torch.compile(Adjoint(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(values), wanted)
    torch.testing.assert_close(torch.export.export(Adjoint(), (values,), strict=True).module()(values), wanted)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["linear", "spline3"])
def test_shapes_are_known_without_numbers(mode: str, antialias: bool) -> None:
    image = torch.empty(2, 3, 16, 17, dtype=torch.bfloat16, device="meta", requires_grad=True)
    theta = torch.empty(2, 6, device="meta", requires_grad=True)
    result = warp(image, Affine()(theta), (5, 4), mode=mode, antialias=antialias)
    assert (result.shape, result.dtype, result.is_meta) == ((2, 3, 5, 4), torch.bfloat16, True)
    for leaf, gradient in zip((image, theta), torch.autograd.grad(result.sum(), (image, theta)), strict=True):
        assert (gradient.shape, gradient.dtype) == (leaf.shape, leaf.dtype)


@pytest.mark.slow
def test_inductor_compiles_it_too() -> None:
    torch._dynamo.reset()
    image, theta = torch.rand(2, 3, 16, 17), Affine().identity + 0.1 * torch.randn(2, 6)
    compiled = torch.compile(lambda i, t: warp(i, Affine()(t)), fullgraph=True, dynamic=True)
    torch.testing.assert_close(compiled(image, theta), warp(image, Affine()(theta)), atol=1e-5, rtol=1e-5)


class Everything(nn.Module):
    """Whatever samples, in one module."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        self.transforms = nn.ModuleList([Projective(ndim), ThinPlateSpline((3,) * ndim), Bounded(Affine(ndim))])
        localization = nn.Sequential(nn.Flatten(2), Mean(), nn.Linear(2, Affine(ndim).num_params))
        self.transformer = SpatialTransformer(localization, Affine(ndim), leash=1.0, window=0.5)

    def forward(self, image: Tensor, grid: Tensor, thetas: list[Tensor]) -> tuple[Tensor, ...]:
        pulls = [transform(theta) for transform, theta in zip(self.transforms, thetas, strict=True)]
        return (
            self.transformer(image),
            sample(image, grid, mode="spline3", padding="wrap"),
            sample(image, grid, mode="cubic", padding="constant", fill=0.5, align_corners=True),
            *(warp(image, pull, padding="reflection") for pull in pulls),
        )


class Mean(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.mean(-1)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_is_exported_saved_and_loaded_whole_for_all_sizes(ndim: int, strict: bool) -> None:
    module = Everything(ndim).eval()

    def arguments(count: int, size: tuple[int, ...], out: tuple[int, ...]) -> tuple[Any, ...]:
        thetas = [t.identity + 0.1 * torch.randn(count, t.num_params) for t in module.transforms]  # pyright: ignore[reportCallIssue, reportArgumentType, reportOperatorIssue]
        return torch.rand(count, 2, *size[:ndim]), 3 * torch.rand(count, *out[:ndim], ndim) - 1.5, thetas

    spatial = dict.fromkeys(range(2, 2 + ndim), Dim.DYNAMIC)
    shapes = {0: Dim.DYNAMIC, **spatial}, dict.fromkeys(range(ndim + 1), Dim.DYNAMIC), [{0: Dim.DYNAMIC}] * 3
    program = torch.export.export(module, arguments(3, (9, 8, 7), (4, 5, 6)), dynamic_shapes=shapes, strict=strict)
    called = [str(node.target) for node in program.graph.nodes if "unwarp" in str(node.target)]
    assert called.count("unwarp.read.default") == len(called) - 1 == 6
    assert called.count("unwarp.spline_coefficients.default") == 1

    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for count, size, out in ((1, (5, 12, 6), (3, 7, 9)), (4, (16, 3, 10), (6, 5, 4))):
        given = arguments(count, size, out)
        for one, other in zip(loaded(*given), module(*given), strict=True):
            torch.testing.assert_close(one, other)


def test_an_exported_transformer_carries_no_leash() -> None:
    image, transform = torch.rand(2, 1, 8, 8), Affine()
    network = fully_connected((1, 8, 8), transform)
    programs = [torch.export.export(SpatialTransformer(network, transform, leash=x), (image,)) for x in (0.0, 1.0)]
    assert len(programs[0].graph.nodes) == len(programs[1].graph.nodes)


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_operators_promise_what_they_return(channels: int, layout: torch.memory_format) -> None:
    image = torch.rand(2, channels, 6, 7).contiguous(memory_format=layout).requires_grad_()
    matrix = torch.eye(2, 3).repeat(2, 1, 1).requires_grad_()
    words = (True, "linear", ("zeros",) * 2)
    # Schemas, derivatives, and shapes and strides under fake tensors and dynamic compilation.
    torch.library.opcheck(torch.ops.unwarp.read.default, (image, matrix, (4, 5), *words, None))
    grad_out = torch.rand(2, channels, 4, 5, requires_grad=True)
    torch.library.opcheck(torch.ops.unwarp.grad_image.default, (grad_out, matrix, image, *words))
