import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unwarp.coordinates import identity_grid, matrix_in_pixels, pixel_centers, to_normalized, to_pixel
from unwarp.maps import LinearMap

sizes = st.lists(st.integers(1, 9), min_size=1, max_size=3)


@given(sizes)
def test_the_grid_holds_the_pixel_centres_in_xyz_order(size: list[int]) -> None:
    pixels = to_pixel(identity_grid(size, dtype=torch.float64), size)
    wanted = torch.stack(torch.meshgrid(*(torch.arange(s) for s in size), indexing="ij")[::-1], dim=-1)
    torch.testing.assert_close(pixels, wanted.double(), atol=1e-12, rtol=0)


def test_the_outer_edges_are_at_minus_one_and_one() -> None:
    edges = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    assert to_pixel(edges, (4, 6)).tolist() == [[-0.5, -0.5], [5.5, 3.5]]


@given(sizes)
def test_to_normalized_undoes_to_pixel(size: list[int]) -> None:
    points = torch.rand(5, len(size), dtype=torch.float64) * 4 - 2
    torch.testing.assert_close(to_normalized(to_pixel(points, size), size), points)


@pytest.mark.parametrize("count", [1, 2, 7, 28, 1000])
def test_centres_are_antisymmetric_and_evenly_spaced(count: int) -> None:
    centers = pixel_centers(count)
    assert torch.equal(centers, -centers.flip(0))
    torch.testing.assert_close(centers.diff(), torch.full((count - 1,), 2 / count))


def test_a_matrix_in_pixels_moves_pixels_as_the_map_moves_points() -> None:
    pull = LinearMap(torch.randn(1, 2, 3, dtype=torch.float64))
    in_size, out_size = (5, 7), (4, 9)
    pixels = torch.rand(6, 2, dtype=torch.float64) * 4
    through = to_pixel(pull(to_normalized(pixels, out_size).unsqueeze(0)), in_size)[0]
    matrix = matrix_in_pixels(pull.homogeneous[0], in_size, out_size)
    torch.testing.assert_close(pixels @ matrix[:2, :2].T + matrix[:2, 2], through)
