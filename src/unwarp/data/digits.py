"""The handwritten digits that come with scikit-learn (Alpaydin and Kaynak, UCI)."""

import torch
import torch.nn.functional as F

from unwarp.data.pictures import Pictures, Splits, split_off

_BRIGHTEST = 16
_SIZE = (20, 20)
_TEST, _VALIDATION = 0.222, 0.1433


def load_digits(seed: int = 0) -> Splits:
    """About 1,200 training, 200 validation and 400 test pictures, enlarged from 8×8 to 20×20; no download.

    The test pictures are always the same; the validation part is drawn by `seed`.
    """
    from sklearn.datasets import load_digits as load

    pixels, labels = load(return_X_y=True)
    small = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / _BRIGHTEST
    large = F.interpolate(small, _SIZE, mode="bicubic", align_corners=False)
    images = (255 * large).round().clamp(0, 255).byte()
    names = tuple(f"digit/{row}" for row in range(len(images)))
    everything = Pictures(images, torch.from_numpy(labels).long(), tuple("0123456789"), names)
    rest, test = split_off(everything, _TEST)
    train, validation = split_off(rest, _VALIDATION, seed)
    return Splits(train, validation, test)
