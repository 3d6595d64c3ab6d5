"""The sampler's operators: `read` and its two gradients, for autograd, compile, export and vmap; the choice by device.

`torch.ops.unwarp.read` takes an image and coordinates (a matrix per map, a grid, or a grid of footprints) and gives the
image's values there.
It is linear in the image, so the gradient of the image is the transposed operator, and the derivatives of that are
these same operators again. Only the second derivative with respect to coordinates is left to the reference.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch._C._functorch import (
    get_interpreter_stack,
    is_legacy_batchedtensor,  # those of torch.autograd.grad(is_grads_batched=True)
)
from torch._functorch.utils import unwrap_dead_wrappers

from unwarp.sampling import cpu, gpu, onnx, reference

_WORDS = "bool linear, str mode, str[] padding"
_library = torch.library.Library("unwarp", "DEF")
_library.define(f"read(Tensor image, Tensor coordinates, SymInt[] size, {_WORDS}, Tensor? fill) -> Tensor")
_library.define(f"grad_image(Tensor grad_out, Tensor coordinates, Tensor like, {_WORDS}) -> Tensor")
_library.define(
    f"grad_coordinates(Tensor grad_out, Tensor image, Tensor coordinates, {_WORDS}, Tensor? fill) -> Tensor"
)
_library.impl("read", cpu.read, "CPU")
_library.impl("grad_image", cpu.grad_image, "CPU")
_library.impl("grad_coordinates", cpu.grad_coordinates, "CPU")
_library.impl("read", gpu.read, "CUDA")
_library.impl("grad_image", gpu.grad_image, "CUDA")
_library.impl("grad_coordinates", gpu.grad_coordinates, "CUDA")


def read(
    image: Tensor,
    coordinates: Tensor,
    size: Sequence[int],
    linear: bool,
    mode: str,
    padding: Sequence[str],
    fill: Tensor | None,
) -> Tensor:
    """`reference.read` by the fastest kernel there is. The arguments must fit; the callers have checked them."""
    arguments = (image, coordinates, tuple(size), linear, mode, tuple(padding), fill)
    in_onnx = torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export()
    if in_onnx and coordinates.ndim == 3:
        return onnx.read(*arguments)
    if in_onnx or (_has_kernel(image, mode) and not _is_for_reference(image, coordinates, fill)):
        return _read(*arguments)
    return reference.read(*arguments)


def read_adjoint(
    values: Tensor, coordinates: Tensor, like: Tensor, linear: bool, mode: str, padding: Sequence[str]
) -> Tensor:
    """The transpose of `read` without a fill: `values [N K, C, *size]` given to an image of the form of `like`."""
    if not torch.compiler.is_compiling() and torch._C._is_tracing():
        raise NotImplementedError("warp_adjoint: torch.jit.trace cannot follow it; torch.export can")
    if _has_kernel(like, mode) and not _is_for_reference(values, coordinates):
        return _grad_image(values, coordinates, like, linear, mode, tuple(padding))

    def value(image: Tensor) -> Tensor:
        return reference.read(image, coordinates, values.shape[2:], linear, mode, padding, None)

    return torch.func.vjp(value, torch.zeros_like(like))[1](values)[0]


def _has_kernel(image: Tensor, mode: str) -> bool:
    return cpu.COMPILED if image.is_cpu else image.is_meta or gpu.supports(image, mode)


def _is_for_reference(*tensors: Tensor | None) -> bool:
    # torch has no forward-mode rule for operators of one's own, and torch.jit.trace fails at one with a list of sizes;
    # the reference is made of torch's.
    # To ask each tensor takes longer than to ask whether anyone is in forward mode.
    in_forward_mode = forward_ad._current_level >= 0
    if torch.compiler.is_compiling():
        # Nor does torch.compile find the derivatives of operators of one's own inside torch.func.grad.
        return in_forward_mode or is_inside("Grad", "Jvp")
    if torch._C._is_tracing():
        return True
    # Tangents of an outer level do not show at an inner one.
    return in_forward_mode and (
        torch._C._are_functorch_transforms_active()
        or any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors)
    )


def is_inside(*transforms: str) -> bool:
    """Whether one of these transforms of torch.func is at work: "Grad" (also vjp), "Jvp"; traced as what it is then."""
    return any(level.key().name in transforms for level in get_interpreter_stack() or ())


# As torch.compiler.assume_constant_result does, which imports the compiler. Compiled programs are guarded by it.
is_inside._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


@torch.library.register_fake("unwarp::read", lib=_library)
def _(image: Tensor, coordinates: Tensor, size: Sequence[int], *_words: Any) -> Tensor:
    if torch.onnx.is_in_onnx_export():
        if coordinates.ndim == 4:
            raise NotImplementedError("antialias: no ONNX operator takes means over footprints; export without it")
        raise NotImplementedError("unwarp::read: ONNX knows no such operator; give torch.onnx.export the module itself")
    shape = (coordinates.shape[0], image.shape[1], *size)
    return torch.empty(shape, dtype=image.dtype, device=image.device, memory_format=_layout(image))


@torch.library.register_fake("unwarp::grad_image", lib=_library)
def _(grad_out: Tensor, coordinates: Tensor, like: Tensor, *_words: Any) -> Tensor:
    return torch.empty_like(like, memory_format=_layout(like))


def _layout(image: Tensor) -> torch.memory_format:
    return cpu.layout(image) if image.device.type == "cpu" else torch.contiguous_format


@torch.library.register_fake("unwarp::grad_coordinates", lib=_library)
def _(grad_out: Tensor, image: Tensor, coordinates: Tensor, *_words: Any) -> Tensor:
    return torch.empty_like(coordinates, memory_format=torch.contiguous_format)


def _keep_read(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, coordinates, ctx.size, *ctx.words, fill = inputs
    ctx.save_for_backward(image, coordinates, fill)


def _read_backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    image, coordinates, fill = ctx.saved_tensors
    size, words = ctx.size, ctx.words
    for_image = for_coordinates = for_fill = None
    of_image, of_coordinates, *_ = ctx.needs_input_grad
    on_gpu = image.is_cuda and _is_plain((grad_out, image, coordinates))
    nobody_derives = not torch.is_grad_enabled() and forward_ad._current_level < 0
    if on_gpu and of_image and of_coordinates and nobody_derives:
        # Who wants no second derivatives gets both for the reading of one.
        for_image, for_coordinates = gpu.gradients(grad_out, image, coordinates, *words, fill=fill)
    else:
        if of_image:
            for_image = _grad_image(grad_out, coordinates, image, *words)
        if of_coordinates:
            for_coordinates = _grad_coordinates(grad_out, image, coordinates, *words, fill)
    if fill is not None and ctx.needs_input_grad[6]:
        ones = torch.ones_like(image[:, :1], dtype=torch.promote_types(image.dtype, coordinates.dtype))
        outside = 1 - _read(ones, coordinates, size, *words, None)
        # Summed in double precision: the order in which threads add does not show in single.
        of_channels = (grad_out * outside).sum([0, *range(2, grad_out.ndim)], dtype=torch.float64)
        for_fill = of_channels.sum_to_size(fill.shape).to(fill.dtype)
    return for_image, for_coordinates, None, None, None, None, for_fill


def _keep_grad_image(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_out, coordinates, _, *ctx.words = inputs
    ctx.save_for_backward(grad_out, coordinates)


def _grad_image_backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
    grad_out, coordinates = ctx.saved_tensors
    words = ctx.words
    for_out = for_coordinates = None
    if ctx.needs_input_grad[0]:
        for_out = _read(direction, coordinates, grad_out.shape[2:], *words, None).to(grad_out.dtype)
    if ctx.needs_input_grad[1]:
        for_coordinates = _grad_coordinates(grad_out, direction, coordinates, *words, None)
    return for_out, for_coordinates, None, None, None, None


def _keep_grad_coordinates(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.linear, ctx.mode, ctx.padding, fill = inputs
    ctx.save_for_backward(*tensors, fill)


def _grad_coordinates_backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, fill = ctx.saved_tensors
    size = tensors[0].shape[2:]

    def gradient(grad_out: Tensor, image: Tensor, coordinates: Tensor, fill: Tensor | None = None) -> Tensor:
        def value(at: Tensor) -> Tensor:
            return reference.read(image, at, size, ctx.linear, ctx.mode, ctx.padding, fill)

        return torch.func.vjp(value, coordinates)[1](grad_out.to(image.dtype))[0]

    pull: Callable[..., Any] = torch.func.vjp(gradient, *tensors, *([] if fill is None else [fill]))[1]
    *gradients, for_fill = (*pull(direction), *([None] if fill is None else []))
    found = [g if wanted else None for g, wanted in zip(gradients, ctx.needs_input_grad, strict=False)]
    return *found, None, None, None, for_fill if ctx.needs_input_grad[6] else None


def _is_plain(arguments: Iterable[Any]) -> bool:
    """Whether tensors are torch's own, as they lie in memory, where kernels of ours are, and nobody looks at calls."""
    if torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active():
        return False
    for argument in arguments:  # a generator would take as long as all else here
        if isinstance(argument, Tensor):
            on_device = argument.is_cpu or argument.is_cuda
            if type(argument) not in _PLAIN or not on_device or is_legacy_batchedtensor(argument):
                return False
            if argument.is_neg() or argument._is_zerotensor():
                return False
    return True


_PLAIN = (Tensor, torch.nn.Parameter)


def _operator(name: str, keep: Callable[..., None], backward: Callable[..., Any]) -> Callable[..., Tensor]:
    """The operator of that name with derivatives and a rule for vmap.

    torch's registered derivatives serve torch.compile and torch.export, but not torch.func; an autograd function serves
    that, and costs less per call.
    """
    overload = getattr(torch.ops.unwarp, name).default

    def mapped(
        info: Any, in_dims: Sequence[int | None], *arguments: Any, call: Callable[..., Tensor]
    ) -> tuple[Tensor, int]:
        pairs = list(zip(arguments, in_dims, strict=True))
        apart = set() if name == "grad_image" else {len(pairs) - 1}  # a fill has no batch axis
        if any(isinstance(arguments[place], Tensor) and in_dims[place] is not None for place in apart):

            def single(i: int) -> list[Any]:
                return [v.select(dim, i) if isinstance(v, Tensor) and dim is not None else v for v, dim in pairs]

            return torch.stack([call(*single(i)) for i in range(info.batch_size)]), 0

        # The mapped axis joins the batch; where all share the images, the maps of each.
        images = 1
        image = {"read": 0, "grad_coordinates": 1}.get(name)
        if image is not None and in_dims[image] is None and len(arguments[image]) > 0:
            apart.add(image)
            images = len(arguments[image])

        def fold(value: Tensor, dim: int | None) -> Tensor:
            value = value.expand(info.batch_size, *value.shape) if dim is None else value.movedim(dim, 0)
            return value.unflatten(1, (images, -1)).transpose(0, 1).flatten(0, 2)

        folded = [
            fold(value, dim) if isinstance(value, Tensor) and place not in apart else value
            for place, (value, dim) in enumerate(pairs)
        ]
        like, dim = pairs[1 if name == "read" else 2]  # which there are as many of as of results
        each = (len(like) if dim is None else like.movedim(dim, 0).shape[1]) // images
        return call(*folded).unflatten(0, (images, info.batch_size, each)).transpose(0, 1).flatten(1, 2), 0

    def forward(*arguments: Any) -> Tensor:
        # torch's way to a kernel of ours takes as long as a small warp; where nobody listens there, we go straight.
        if _is_plain(arguments):
            return getattr(cpu if arguments[0].is_cpu else gpu, name)(*arguments)
        return overload(*arguments)

    function: Any = type(
        name,
        (torch.autograd.Function,),
        {
            "forward": staticmethod(forward),
            "setup_context": staticmethod(keep),
            "backward": staticmethod(backward),
            "vmap": staticmethod(
                lambda info, in_dims, *arguments: mapped(info, in_dims, *arguments, call=differentiable)
            ),
        },
    )

    # `function.apply` less its search for defaults, of which there are none, and which takes longer than a small warp.
    apply: Any = getattr(super(torch.autograd.Function, function), "apply")  # noqa: B009

    def differentiable(*arguments: Any) -> Tensor:
        if torch.compiler.is_compiling():
            return overload(*arguments)
        if forward_ad._current_level >= 0:
            # Only a gradient that was handed down has one here. The operators are linear in their first argument.
            primal, tangent = forward_ad.unpack_dual(arguments[0])
            if tangent is not None:
                value, along = (differentiable(first, *arguments[1:]) for first in (primal, tangent))
                return forward_ad.make_dual(value, along)
        if torch._C._are_functorch_transforms_active():
            return function.apply(*arguments)
        # Saved tensors ask for gradients in a backward pass too, where nobody wants them.
        if torch.is_grad_enabled():
            for argument in arguments:
                if isinstance(argument, Tensor) and argument.requires_grad:
                    return apply(*unwrap_dead_wrappers(arguments))
        return forward(*arguments)

    torch.library.register_autograd(f"unwarp::{name}", backward, setup_context=keep, lib=_library)
    torch.library.register_vmap(f"unwarp::{name}", partial(mapped, call=overload), lib=_library)
    return differentiable


_read = _operator("read", _keep_read, _read_backward)
_grad_image = _operator("grad_image", _keep_grad_image, _grad_image_backward)
_grad_coordinates = _operator("grad_coordinates", _keep_grad_coordinates, _grad_coordinates_backward)
