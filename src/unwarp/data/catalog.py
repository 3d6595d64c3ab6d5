"""One name for every source of pictures."""

from pathlib import Path

from unwarp.checks import check_size
from unwarp.data.arrays import load_arrays
from unwarp.data.digits import load_digits
from unwarp.data.folder import load_folder
from unwarp.data.mnist import load_mnist
from unwarp.data.pictures import Pictures, Splits, check_channels
from unwarp.data.sequences import load_mnist_sequences

_OWN = {"mnist": load_mnist, "digits": load_digits, "mnist-sequences": load_mnist_sequences}
_FOLDER_SIZE = (48, 48)


def load(
    data: str,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    strict: bool = False,
    seed: int = 0,
) -> Splits:
    """The pictures that `data` names.

    Args:
        data: "mnist", "digits", "mnist-sequences", a folder with a sub-folder of pictures for each class, or a file
            .npz; a folder that is called mnist is "./mnist".
        size: (H, W) to resize to; None is the pictures' own, and (48, 48) for a folder.
        channels: 1 for grey, 3 for colour; None is what the pictures are.
        strict: fail on a picture of a folder that cannot be read, instead of leaving it out with a warning.
        seed: of the splits that the data set does not have itself.

    Raises:
        ValueError: for anything else, or data that cannot be used; see `load_folder` and `load_arrays`.
        OSError: if a data set is neither there nor can be downloaded.
    """
    if size is not None:
        check_size(size, 2)
    if channels is not None:
        check_channels(channels)
    path = Path(data).expanduser()
    if data in _OWN:
        splits = _OWN[data](seed=seed)
    elif data and path.is_dir():
        return load_folder(path, size or _FOLDER_SIZE, channels=channels, strict=strict, seed=seed)
    elif path.suffix == ".npz":
        splits = load_arrays(path, seed=seed)
    else:
        raise ValueError(
            f"data: wanted {', '.join(_OWN)}, a folder with a sub-folder of pictures for each class, or a file .npz; "
            f"got {data!r}, which is {'another file' if path.exists() else 'not there'}"
        )

    def fitted(pictures: Pictures) -> Pictures:
        pictures = pictures if channels is None else pictures.with_channels(channels)
        return pictures if size is None else pictures.resized(size)

    return Splits(fitted(splits.train), fitted(splits.validation), fitted(splits.test))
