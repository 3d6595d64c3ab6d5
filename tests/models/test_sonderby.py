from typing import Any

import pytest
import torch

from tests.models.test_models import parameters
from unwarp.models import build_model
from unwarp.models.sonderby import feed_forward_localization, recurrent_localization
from unwarp.transforms import Affine


def test_the_networks_have_the_sizes_of_the_published_ones() -> None:
    """Counted from the published code: 1.45M to find the digits; 1.06M and 0.23M to read a crop of 50×50 and 33×33."""
    assert parameters(recurrent_localization((1, 100, 100), Affine(), 3)) == pytest.approx(1.45e6, rel=0.01)
    assert parameters(feed_forward_localization((1, 100, 100), Affine())) == pytest.approx(0.333e6, rel=0.01)
    for crop, count in ((50, 1.06e6), (33, 0.23e6)):
        model = build_model("st-recurrent", (1, 100, 100), 10, steps=3, crop=(crop, crop))
        assert parameters(model.backbone) == pytest.approx(count, rel=0.02)
    of_one_crop = build_model("st-sequence-cnn", (1, 100, 100), 10, steps=3, crop=(50, 50))
    plain = build_model("sequence-cnn", (1, 100, 100), 10, steps=3)
    assert parameters(plain) == pytest.approx(parameters(of_one_crop), rel=0.1)


def test_the_recurrent_one_reads_each_crop_by_itself_with_one_network() -> None:
    model = build_model("st-recurrent", (1, 40, 40), 10, steps=3, crop=(20, 20))
    image = torch.rand(2, 1, 40, 40)
    seen = model.straighten(image)
    assert seen.image.shape == (2, 3, 1, 20, 20)
    assert seen.pull is not None
    assert seen.pull.batch == (2, 3)
    logits = model.backbone(seen.image)
    torch.testing.assert_close(model.backbone(seen.image.flip(1)), logits.flip(1))
    changed = seen.image.clone()
    changed[:, 1] = 0
    torch.testing.assert_close(model.backbone(changed)[:, ::2], logits[:, ::2])


def test_the_feed_forward_one_reads_all_digits_in_one_crop() -> None:
    model = build_model("st-sequence-cnn", (1, 40, 40), 10, steps=3, crop=(20, 20))
    assert model.straighten(torch.rand(2, 1, 40, 40)).image.shape == (2, 1, 20, 20)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "^model: wanted sequences of labels for st-recurrent"),
        (
            {"steps": 3, "num_transformers": 2},
            "^transformers, passes, look: wanted 1, None and no look for st-recurrent",
        ),
        ({"steps": 3, "passes": 2}, "^transformers, passes, look: wanted 1, None and no look for st-recurrent"),
        ({"steps": 3, "look": True}, "^transformers, passes, look: wanted 1, None and no look for st-recurrent"),
    ],
)
def test_a_recurrent_transformer_wants_sequences_and_stands_alone(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model("st-recurrent", (1, 40, 40), 10, **words)


@pytest.mark.parametrize("name", ["sequence-cnn", "st-sequence-cnn", "st-recurrent"])
def test_images_that_are_too_small_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="^in_shape: wanted larger images"):
        build_model(name, (1, 20, 100), 10, steps=3)
