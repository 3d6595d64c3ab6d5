import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from unwarp.data import Pictures
from unwarp.tasks import colocalise as task
from unwarp.tasks.colocalise import Colocalised, Encoder, colocalise, colocalise_all, train_encoder
from unwarp.tasks.options import ColocaliseOptions


def shapes(count: int = 600) -> Pictures:
    """Rings and crosses of 28×28, each a little different."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.arange(28) - 13.5
    images = torch.zeros(count, 28, 28)
    for row, image in enumerate(images):
        y, x = axis[:, None] + torch.randn(1, generator=generator), axis[None] + torch.randn(1, generator=generator)
        radius = 8 + 1.5 * torch.randn(1, generator=generator)
        ring = ((x**2 + y**2).sqrt() - radius).abs()
        cross = torch.minimum(x.abs(), y.abs()) + 10 * (torch.maximum(x.abs(), y.abs()) > radius + 2)
        image.copy_((2.5 - (ring if row % 2 else cross)).clamp(0, 1))
    labels = torch.arange(count) % 2
    return Pictures(
        (255 * images).byte().unsqueeze(1), labels, ("cross", "ring"), tuple(str(row) for row in range(count))
    )


def test_a_box_that_covers_half_is_not_enough() -> None:
    true = torch.tensor([[[0.0, 0.0], [0.5, 0.5]]]).expand(2, -1, -1)
    boxes = torch.stack([true, true + torch.tensor([0.2, 0.0])])
    found = Colocalised(torch.zeros(2, 1, 84, 84), true, boxes, torch.zeros(1)).found
    assert found.tolist() == [1.0, 0.0]


def test_what_happens_is_kept(tmp_path: Path) -> None:
    options = ColocaliseOptions(pictures=6, epochs=2, steps=1, clutter=3, parameters=5000)
    told: list[str] = []
    colocalise_all(("ring",), shapes(300), options, tmp_path, lambda name, *_: told.append(name))
    record = json.loads((tmp_path / "results.json").read_text())
    assert told == ["ring"] == list(record["classes"])
    assert record["options"]["clutter"] == 3
    kept = Colocalised.load(tmp_path / "ring.npz")
    assert kept.images.shape == (6, 1, 84, 84)
    assert kept.boxes.shape == (3, 6, 2, 2)
    assert kept.losses.shape == (2,)
    torch.testing.assert_close(kept.true[:, 1] - kept.true[:, 0], torch.full((6, 2), 2 * 28 / 84))
    # Everything is shown before there is any training.
    torch.testing.assert_close(kept.boxes[0], torch.tensor([[-1.0, -1.0], [1, 1]]).expand(6, 2, 2), atol=1e-4, rtol=0)


def test_pictures_in_colour_and_fewer_than_a_batch(tmp_path: Path) -> None:
    options = ColocaliseOptions(pictures=6, epochs=1, steps=1, clutter=3, parameters=5000, encoder_epochs=1)
    grey = shapes(40)
    colocalise_all(
        ("ring",), replace(grey, images=grey.images.expand(-1, 3, -1, -1)), options, tmp_path, lambda *_: None
    )
    assert Colocalised.load(tmp_path / "ring.npz").images.shape == (6, 3, 84, 84)
    with pytest.raises(ValueError, match="^pictures: wanted one label each"):
        colocalise_all(("ring",), replace(grey, labels=grey.labels[:, None]), options, tmp_path, lambda *_: None)


@pytest.mark.parametrize(
    ("ends", "tried", "kept"), [([0.5], 1, 0.5), ([1.0, 0.95, 0.97], 3, 0.95), ([1.0, 0.6], 2, 0.6)]
)
def test_it_starts_anew_where_nothing_was_found(
    monkeypatch: pytest.MonkeyPatch, ends: list[float], tried: int, kept: float
) -> None:
    searches = iter(ends)
    monkeypatch.setattr(
        task, "_search", lambda images, *_: (torch.zeros(2, len(images), 2, 2), torch.tensor([next(searches)]))
    )
    monkeypatch.setattr(task, "_centred", lambda boxes, *_: boxes)
    options = ColocaliseOptions(pictures=6, starts=3)
    result = colocalise("ring", shapes(20), Encoder(nn.Sequential(), torch.zeros(2, 1)), options)
    assert result.losses.tolist() == pytest.approx([kept])
    assert len(list(searches)) == len(ends) - tried


def test_an_offset_of_all_is_found_by_the_certainty_of_the_encoder() -> None:
    rings = shapes(20).images[1::2].float() / 255
    layer = nn.Linear(28 * 28, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([-torch.ones(28 * 28), rings.mean(0).flatten()]))
    images = torch.zeros(len(rings), 1, 84, 84)
    corners = torch.randint(12, 44, (len(rings), 2))
    for image, ring, (x, y) in zip(images, rings, corners.tolist(), strict=True):
        image[:, y : y + 28, x : x + 28] = ring
    true = torch.stack([corners, corners + 28], dim=1) / 42 - 1
    found = task._centred(
        true[None] + torch.tensor([-8.0, 6.0]) / 42, images, Encoder(nn.Sequential(nn.Flatten(), layer), rings)
    )
    torch.testing.assert_close(found[0], true)


def test_wrong_classes_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    def tell(*words: object) -> None: ...

    with pytest.raises(ValueError, match="^class: wanted one of cross, ring"):
        colocalise_all(("star",), shapes(20), ColocaliseOptions(), tmp_path, tell)
    with pytest.raises(ValueError, match="^pictures: wanted 100 of class ring, got 10"):
        colocalise_all(("ring",), shapes(20), ColocaliseOptions(), tmp_path, tell)
    evil = replace(shapes(20), classes=("../cross", "ring"))
    with pytest.raises(ValueError, match="^class: wanted a name that a file can have"):
        colocalise_all(("../cross",), evil, ColocaliseOptions(pictures=5), tmp_path, tell)
    small = replace(shapes(20), images=torch.zeros(20, 1, 48, 48, dtype=torch.uint8))
    with pytest.raises(ValueError, match="^pictures: wanted some of "):
        colocalise_all(("ring",), small, ColocaliseOptions(pictures=5), tmp_path, tell)


def test_one_class_after_the_other_makes_one_table(tmp_path: Path) -> None:
    options = ColocaliseOptions(pictures=6, epochs=1, steps=1, parameters=5000)
    for name in ("ring", "cross"):
        colocalise_all((name,), shapes(300), options, tmp_path, lambda *_: None)
    assert list(json.loads((tmp_path / "results.json").read_text())["classes"]) == ["ring", "cross"]
    colocalise_all(("ring",), shapes(300), replace(options, margin=2.0), tmp_path, lambda *_: None)
    assert list(json.loads((tmp_path / "results.json").read_text())["classes"]) == ["ring"]


@pytest.mark.slow
def test_it_finds_what_the_pictures_have_in_common() -> None:
    options = ColocaliseOptions(pictures=60, epochs=10, parameters=30_000, encoder_epochs=4)
    pictures = shapes()
    result = colocalise("ring", pictures, train_encoder(pictures, options), options)
    assert result.found[0] == 0
    assert result.found[-1] > 0.9
    assert result.losses[-1] < result.losses[0]
