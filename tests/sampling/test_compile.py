import pytest
import torch
from torch import Tensor

from unwarp.transforms import Affine, Projective, ThinPlateSpline, Transform
from unwarp.warping import warp


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


@pytest.mark.slow
def test_inductor_compiles_it_too() -> None:
    torch._dynamo.reset()
    image, theta = torch.rand(2, 3, 16, 17), Affine().identity + 0.1 * torch.randn(2, 6)
    compiled = torch.compile(lambda i, t: warp(i, Affine()(t)), fullgraph=True, dynamic=True)
    torch.testing.assert_close(compiled(image, theta), warp(image, Affine()(theta)), atol=1e-5, rtol=1e-5)
