"""Models written by torch.onnx.export and run by ONNX Runtime, against our own output."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from tests.conftest import random_theta
from unwarp.coordinates import identity_grid
from unwarp.nn import SpatialTransformer, convolutional, fully_connected
from unwarp.sampling import sample
from unwarp.transforms import Affine, Bounded, Projective, Rotation, ThinPlateSpline, Transform
from unwarp.warping import warp

NDIMS = (1, 2, 3)
FILL = torch.tensor([0.3, -1.0, 2.0])
PADDINGS = ("zeros", "constant", "border", "reflection")
# Rounding of coordinates, times half the extent of the pictures here, times the slope of cubic interpolation.
TOLERANCE = 2e-5


class Reading(nn.Module):
    """A function of an image and what says where to read it; exporters want a module."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, image: Tensor, where: Tensor) -> Any:
        return self.function(image, where)


def write(module: nn.Module, arguments: tuple[Tensor, ...], dynamic: Sequence[Sequence[int]]) -> onnx.ModelProto:
    """The module in ONNX, with these axes of the arguments dynamic."""
    shapes = tuple(dict.fromkeys(axes, Dim.DYNAMIC) for axes in dynamic)
    program = torch.onnx.export(
        module.eval(), arguments, dynamo=True, opset_version=20, dynamic_shapes=shapes, verbose=False
    )
    assert program is not None
    onnx.checker.check_model(program.model_proto, full_check=True)
    assert [opset.domain for opset in program.model_proto.opset_import] == [""]
    return program.model_proto


def run(model: onnx.ModelProto, *arguments: Tensor) -> list[Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [taken.name for taken in session.get_inputs()]
    inputs = {name: value.numpy() for name, value in zip(names, arguments, strict=True)}
    return [torch.from_numpy(value) for value in session.run(None, inputs)]


def compare(
    model: onnx.ModelProto, module: nn.Module, *arguments: Tensor, skip: Sequence[int] = (), atol: float = TOLERANCE
) -> None:
    """What the model gives is what the module gives, but for outputs to be skipped."""
    with torch.no_grad():
        wanted = module(*arguments)
    found = run(model, *arguments)
    wanted = (wanted,) if isinstance(wanted, Tensor) else wanted
    for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
        if index not in skip:
            torch.testing.assert_close(one, other, atol=atol, rtol=0)


def sizes(ndim: int) -> tuple[tuple[int, ...], ...]:
    """That of the example, then others."""
    return (9, 10, 8)[:ndim], (12, 7, 6)[:ndim], (5, 16, 11)[:ndim]


def all_axes(ndim: int) -> tuple[int, ...]:
    return (0, *range(2, 2 + ndim))


def words(ndim: int) -> list[tuple[str, str]]:
    """What GridSample can say."""
    return list(product(("nearest", "linear") if ndim == 3 else ("nearest", "linear", "cubic"), PADDINGS))


def reflections(ndim: int) -> list[int]:
    """Those of the words under which points far away are nothing but rounding, in our kernels too."""
    return [index for index, (_, padding) in enumerate(words(ndim)) if padding == "reflection"]


def fill_for(padding: str) -> Tensor | float:
    return FILL if padding == "constant" else 0.0


@pytest.mark.parametrize("ndim", NDIMS)
def test_every_mode_and_padding(ndim: int) -> None:
    module = Reading(
        lambda image, grid: tuple(
            sample(image, grid, mode=mode, padding=padding, fill=fill_for(padding)) for mode, padding in words(ndim)
        )
    )
    first, *others = sizes(ndim)
    model = write(
        module,
        (torch.rand(2, 3, *first), identity_grid(first).expand(2, *first, ndim)),
        [all_axes(ndim), range(ndim + 1)],
    )
    assert sum(node.op_type == "GridSample" for node in model.graph.node) == len(words(ndim))

    for count, size in enumerate(others, start=1):
        image = torch.rand(count, 3, *size)
        compare(model, module, image, 3.2 * torch.rand(count, *first, ndim) - 1.6)
        compare(model, module, image, identity_grid(size).expand(count, *size, ndim))
    # Samples half-way between pixels; at an extent of 42 rounding takes a coordinate off the middle.
    even = (42, 6, 10)[:ndim]
    halved = tuple(extent // 2 for extent in even)
    compare(model, module, torch.rand(1, 3, *even), identity_grid(halved).unsqueeze(0))

    broken = 2 * torch.rand(1, *first, ndim) - 1
    for index, value in enumerate((torch.nan, torch.inf, -torch.inf)):
        broken.flatten(1, -2)[0, index, index % ndim] = value
    image = torch.rand(1, 3, *first)
    compare(model, module, image, broken)
    far = torch.tensor([1e4, -1e4, 1e30, -1e30, 3e38]).reshape(1, *(1,) * (ndim - 1), 5, 1)
    far = far.expand(*far.shape[:-1], ndim).contiguous()
    compare(model, module, image, far, skip=reflections(ndim))


def theta_for(transform: Transform, count: int) -> Tensor:
    """Theta near the identity."""
    return random_theta(transform, count).float()


def with_horizon(transform: Transform, theta: Tensor) -> Tensor:
    """The same, but projective maps have their horizon in the picture."""
    if isinstance(transform, Projective):
        theta[:, -transform.ndim :] = 1.5
    return theta


# Affine maps: in the tests below.
MAPS = [*(Projective(ndim) for ndim in NDIMS), ThinPlateSpline((3, 4)), ThinPlateSpline((2, 2, 3)), Rotation(3)]
MORE_MAPS = [*(Affine(ndim) for ndim in NDIMS), ThinPlateSpline((4,)), Rotation(2)]
MORE_MAPS += [Bounded(Affine(ndim), scale=(0.5, 2.0)) for ndim in NDIMS]


@pytest.mark.parametrize("transform", MAPS, ids=repr)
def test_every_kind_of_map(transform: Transform) -> None:
    ndim = transform.ndim
    module = Reading(lambda image, theta: warp(image, transform(theta), padding="border"), transform)
    first, *others = sizes(ndim)
    model = write(module, (torch.rand(3, 3, *first), theta_for(transform, 3)), [all_axes(ndim), [0]])
    for count, size in enumerate(others, start=1):
        compare(model, module, torch.rand(count, 3, *size), with_horizon(transform, theta_for(transform, count)))


@pytest.mark.slow
@pytest.mark.parametrize("transform", [*MAPS, *MORE_MAPS], ids=repr)
def test_every_kind_of_map_in_every_mode_and_padding(transform: Transform) -> None:
    ndim = transform.ndim
    module = Reading(
        lambda image, theta: tuple(
            warp(image, transform(theta), mode=mode, padding=padding, fill=fill_for(padding))
            for mode, padding in words(ndim)
        ),
        transform,
    )
    first, *others = sizes(ndim)

    model = write(module, (torch.rand(3, 3, *first), theta_for(transform, 3)), [all_axes(ndim), [0]])
    for count, size in enumerate(others, start=1):
        image, theta = torch.rand(count, 3, *size), theta_for(transform, count)
        compare(model, module, image, theta)
        compare(model, module, image, with_horizon(transform, theta), skip=reflections(ndim))


def test_a_composition_of_maps() -> None:
    affine, spline = Affine(), ThinPlateSpline((3, 3))

    def straighten(image: Tensor, theta: Tensor) -> Tensor:
        return warp(image, spline(theta[:, :18]) @ affine(theta[:, 18:]), (7, 9))

    module = Reading(straighten, affine, spline)

    def theta(count: int) -> Tensor:
        return torch.cat([theta_for(spline, count), theta_for(affine, count)], dim=1)

    model = write(module, (torch.rand(3, 1, 8, 9), theta(3)), [all_axes(2), [0]])
    compare(model, module, torch.rand(2, 1, 11, 6), theta(2))


@pytest.mark.parametrize("ndim", NDIMS)
def test_many_maps_of_one_image_do_not_copy_it(ndim: int) -> None:
    transform = Affine(ndim)
    module = Reading(lambda image, theta: warp(image, transform(theta), (4, 5, 6)[:ndim]), transform)
    first, *others = sizes(ndim)
    theta = theta_for(transform, 24).reshape(6, 4, -1)
    model = write(module, (torch.rand(3, 2, *first), theta[:3]), [all_axes(ndim), [0]])
    (reading,) = (node for node in model.graph.node if node.op_type == "GridSample")
    if ndim > 1:
        assert reading.input[0] == model.graph.input[0].name
    for count, size in enumerate(others, start=1):
        compare(model, module, torch.rand(count, 2, *size), theta[:count])


def test_one_image_serves_any_number_of_maps() -> None:
    transform = Affine()
    module = Reading(lambda image, theta: warp(image, transform(theta)), transform)
    model = write(module, (torch.rand(1, 2, 9, 8), theta_for(transform, 3)), [(2, 3), (0,)])
    compare(model, module, torch.rand(1, 2, 6, 9), theta_for(transform, 5))


def test_other_dtypes() -> None:
    def read_as_each(image: Tensor, theta: Tensor) -> tuple[Tensor, ...]:
        pull = Affine()(theta)
        return (
            warp((255 * image).to(torch.uint8), pull),
            warp(image.half(), pull, mode="cubic", padding="border"),
            warp(image.double(), pull),
            warp(image, Affine()(theta.double()), mode="nearest"),
            warp(image.double(), Affine()(theta.double())),
        )

    module = Reading(read_as_each)
    model = write(module, (torch.rand(3, 1, 9, 10), theta_for(Affine(), 3)), [all_axes(2), [0]])
    arguments = torch.rand(2, 1, 12, 7), theta_for(Affine(), 2)
    found, wanted = run(model, *arguments), module(*arguments)
    for one, other, tolerance in zip(found, wanted, (1, 2e-3, 2e-6, 0, 1e-12), strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)
    assert (found[0] != wanted[0]).float().mean() < 0.05  # of the integers, only those next to a half may differ


def test_what_gridsample_cannot_say_is_said_otherwise() -> None:
    module = Reading(
        lambda image, grid: (
            sample(image, grid, padding="wrap"),
            sample(image, grid, mode="cubic", padding=("constant", "wrap"), fill=FILL),
            sample(image, grid, mode="nearest", padding=("reflection", "border"), align_corners=True),
        )
    )
    first, *others = sizes(2)
    model = write(module, (torch.rand(2, 3, *first), torch.rand(2, 5, 6, 2)), [all_axes(2), (0, 1, 2)])
    for count, size in enumerate(others, start=1):
        compare(model, module, torch.rand(count, 3, *size), 3.2 * torch.rand(count, 8, 4, 2) - 1.6)


@pytest.mark.slow
@pytest.mark.parametrize("padding", [*PADDINGS, "wrap"])
def test_cubic_volumes(padding: str) -> None:
    module = Reading(lambda image, grid: sample(image, grid, mode="cubic", padding=padding, fill=fill_for(padding)))
    first, *others = sizes(3)
    model = write(module, (torch.rand(2, 3, *first), torch.rand(2, 5, 6, 4, 3)), [all_axes(3), (0, 1, 2, 3)])
    for count, size in enumerate(others, start=1):
        compare(model, module, torch.rand(count, 3, *size), 3.2 * torch.rand(count, 3, 4, 5, 3) - 1.6)


class Pooled(nn.Module):
    """A localization network for pictures of any size."""

    def __init__(self, channels: int, transform: Transform, maps: int) -> None:
        super().__init__()
        self.head, self.maps = nn.Linear(channels, maps * transform.num_params), maps
        nn.init.normal_(self.head.weight, std=0.3)
        self.head.bias.data.copy_(transform.identity.repeat(maps))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(image.flatten(2).mean(-1)).unflatten(1, (self.maps, -1))


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_spatial_transformer_for_pictures_of_any_size(ndim: int) -> None:
    transform = Affine(ndim)
    module = SpatialTransformer(Pooled(2, transform, maps=3), transform, leash=1.0, window=0.7, padding="border")
    first, *others = sizes(ndim)
    model = write(module, (torch.rand(3, 2, *first),), [all_axes(ndim)])
    for count, size in enumerate(others, start=1):
        compare(model, module, torch.rand(count, 2, *size))


@pytest.mark.parametrize(("network", "ndim"), [(fully_connected, 2), (convolutional, 2), (convolutional, 3)])
def test_a_spatial_transformer_with_a_network_of_the_paper(network: Callable[..., nn.Module], ndim: int) -> None:
    shape = (2, 16, 16, 16)[: ndim + 1]
    module = SpatialTransformer(network(shape, Affine(ndim), perturbation=0.3), Affine(ndim), (9, 8, 7)[:ndim])
    model = write(module, (torch.rand(2, *shape),), [[0]])
    for count in (1, 5):
        compare(model, module, torch.rand(count, *shape))


@pytest.mark.parametrize("mode", ["spline2", "spline5"])
def test_splines_are_refused(mode: str) -> None:
    module = Reading(lambda image, grid: sample(image, grid, mode=mode))
    with pytest.raises(torch.onnx.OnnxExporterError, match=f"mode: wanted nearest, linear or cubic .* got {mode}"):
        write(module, (torch.rand(2, 1, 8, 8), torch.rand(2, 5, 5, 2)), [[0], [0]])


def test_an_exported_program_is_refused() -> None:
    module = Reading(sample)
    program = torch.export.export(module, (torch.rand(2, 1, 8, 8), torch.rand(2, 5, 5, 2)))
    with pytest.raises(torch.onnx.OnnxExporterError, match="give torch.onnx.export the module"):
        torch.onnx.export(program, dynamo=True, verbose=False)


def test_antialiasing_is_refused() -> None:
    module = Reading(lambda image, grid: sample(image, grid, antialias=True))
    with pytest.raises(torch.onnx.OnnxExporterError, match="antialias: no ONNX operator"):
        write(module, (torch.rand(2, 1, 8, 8), torch.rand(2, 5, 5, 2)), [[0], [0]])
