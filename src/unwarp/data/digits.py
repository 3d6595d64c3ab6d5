"""The handwritten digits that come with scikit-learn (Alpaydin and Kaynak, UCI): real data without a download."""

import torch

from unwarp.data.extras import needs_train_extra
from unwarp.data.pictures import Pictures, Splits, complete_splits

_BRIGHTEST = 16
_SIZE = (20, 20)
_VALIDATION, _TEST = 200, 400


def load_digits(seed: int = 0) -> Splits:
    """1,197 training, 200 validation and 400 test pictures, grey, enlarged from 8×8 to 20×20; split by `seed`."""
    with needs_train_extra():
        from sklearn.datasets import load_digits as load_values

    values, labels = load_values(return_X_y=True)
    images = torch.from_numpy(values * (255 / _BRIGHTEST)).round().byte().view(-1, 1, 8, 8)
    pictures = Pictures(
        images,
        torch.from_numpy(labels).long(),
        tuple("0123456789"),
        tuple(f"digits/{row}" for row in range(len(images))),
    )
    return complete_splits(
        pictures.resized(_SIZE),
        None,
        None,
        validation_fraction=_VALIDATION / len(pictures),
        test_fraction=_TEST / len(pictures),
        seed=seed,
    )
