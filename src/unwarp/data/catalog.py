"""One name for every source of pictures."""

from pathlib import Path

from unwarp.checks import check_size
from unwarp.data.arrays import load_arrays
from unwarp.data.birds import find_birds, is_birds_folder, load_birds
from unwarp.data.digits import load_digits
from unwarp.data.folder import load_folder
from unwarp.data.mnist import load_mnist
from unwarp.data.pictures import Pictures, Splits, check_channels
from unwarp.data.sequences import load_mnist_sequences

_OWN = {"mnist": load_mnist, "digits": load_digits, "mnist-sequences": load_mnist_sequences}
_BIRDS = "birds"
_FOLDER_SIZE, _BIRDS_SIZE = (48, 48), (224, 224)


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
        data: "mnist", "digits", "mnist-sequences", "birds" (CUB-200-2011, which has to be fetched by hand), a folder
            with a sub-folder of pictures for each class or in the layout of CUB-200-2011, or a file .npz; a folder that
            is called mnist is "./mnist".
        size: (H, W) to resize to; None is the pictures' own, (48, 48) for a folder and (224, 224) for birds.
        channels: 1 for grey, 3 for colour; None is what the pictures are, and 3 for birds.
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
    try:
        path = Path(data).expanduser()
    except RuntimeError as error:  # of a user who is not there
        raise ValueError(f"data: wanted a path, got {data!r}: {error}") from error
    if data in _OWN:
        splits = _OWN[data](seed=seed)
    elif data == _BIRDS or (data and is_birds_folder(path)):
        folder = find_birds() if data == _BIRDS else path
        return load_birds(folder, size or _BIRDS_SIZE, channels=channels or 3, strict=strict, seed=seed)
    elif data and path.is_dir():
        return load_folder(path, size or _FOLDER_SIZE, channels=channels, strict=strict, seed=seed)
    elif path.suffix == ".npz":
        splits = load_arrays(path, seed=seed)
    else:
        raise ValueError(
            f"data: wanted {', '.join((*_OWN, _BIRDS))}, a folder with a sub-folder of pictures for each class, or a "
            f"file .npz; got {data!r}, which is {'another file' if path.exists() else 'not there'}"
        )

    def fitted(pictures: Pictures) -> Pictures:
        pictures = pictures if channels is None else pictures.with_channels(channels)
        return pictures if size is None else pictures.resized(size)

    return Splits(fitted(splits.train), fitted(splits.validation), fitted(splits.test))
