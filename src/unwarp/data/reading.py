"""A picture file becomes a tensor of 8 bits, whatever its format, depth and mode."""

import sys
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unwarp.checks import check_size
from unwarp.data.extras import needs_train_extra
from unwarp.data.pictures import check_channels

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# Only these formats are ever tried: others (EPS, PDF, ...) run programs or hold no pixels.
_FORMAT_OF_SUFFIX = {
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".pbm": "PPM",
    ".pgm": "PPM",
    ".png": "PNG",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
PICTURE_SUFFIXES = tuple(_FORMAT_OF_SUFFIX)
_FORMATS = tuple(sorted(set(_FORMAT_OF_SUFFIX.values())))
_MODES = {1: "L", 3: "RGB"}
# The value of white in modes of more than 8 bits: the first that no pixel exceeds.
_WHITE_OF_MODE = {"I": (2**16 - 1, 2**31 - 1), "F": (1, 2**8 - 1, 2**16 - 1)}
_WHITE_OF_16_BITS = (2**16 - 1,)
_NAMED_SKIPS = 10


def read_picture(
    path: str | Path,
    channels: int | None = None,
    *,
    size: tuple[int, int] | None = None,
    max_pixels: int = 80_000_000,
) -> Tensor:
    """A picture file as uint8 `[C, H, W]`.

    Reads PNG, JPEG, BMP, WebP, TIFF, GIF and PPM (of several frames the first), told by content and not by name.
    The orientation in EXIF is applied and anything transparent is laid on black. CMYK and palettes become RGB.
    White is 65535 in 16-bit grey, and in 32-bit integers too, or 2³¹ - 1 if a pixel exceeds it; in 32-bit floats it is
    the first of 1, 255 and 65535 that no pixel exceeds.

    Args:
        path: the file.
        channels: 1 for grey, 3 for colour; None is 3 if the picture has colour, 1 if red, green and blue are equal
            everywhere.
        size: (H, W) to resize to, antialiased bilinear, without keeping the aspect ratio; None is the picture's own.
        max_pixels: refuse larger pictures before they are unpacked.

    Raises:
        ValueError: naming the file, if it is not there, not a picture, damaged or too large.
    """
    if channels is not None:
        check_channels(channels)
    if size is not None:
        check_size(size, 2)
    with needs_train_extra():
        import PIL.Image  # noqa: F401
    try:
        image = _decode(Path(path), size, max_pixels)
    except Exception as error:  # decoders of damaged files raise anything
        raise ValueError(f"{path}: wanted a picture ({', '.join(_FORMATS)}), got {_reason(error)}") from error
    if channels is not None:
        image = image.convert(_MODES[channels])
    pixels = torch.from_numpy(np.array(image))
    if pixels.ndim == 2:
        return pixels.unsqueeze(0)
    pixels = pixels.permute(2, 0, 1).contiguous()
    is_grey = channels is None and bool((pixels[:1] == pixels[1:]).all())
    return pixels[:1] if is_grey else pixels


def read_pictures(
    paths: Sequence[Path], size: tuple[int, int], channels: int | None, *, strict: bool
) -> dict[Path, Tensor]:
    """Many picture files, several at a time: those that can be read, by path; a warning names the others.

    Args:
        paths: the files.
        size: see `read_picture`.
        channels: see `read_picture`.
        strict: fail on the first that cannot be read instead; ValueError.
    """

    def read(path: Path) -> Tensor | ValueError:
        try:
            return read_picture(path, channels, size=size)
        except ValueError as error:
            return error

    images, problems = {}, []
    pool = ThreadPoolExecutor()
    try:
        for path, result in zip(paths, _with_progress(pool.map(read, paths), len(paths)), strict=True):
            if isinstance(result, Tensor):
                images[path] = result
            elif strict:
                raise result
            else:
                problems.append(str(result))
    finally:
        pool.shutdown(cancel_futures=True)
    if problems:
        more = f"\n  and {len(problems) - _NAMED_SKIPS} more" if len(problems) > _NAMED_SKIPS else ""
        lines = "".join(f"\n  {problem}" for problem in problems[:_NAMED_SKIPS])
        warnings.warn(f"left out {len(problems)} of {len(paths)} pictures:{lines}{more}", stacklevel=3)
    return images


def stack_pictures(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures `[1 or 3, H, W]` of one size as one tensor; in colour if any of them is."""
    channels = max(picture.shape[0] for picture in pictures)
    return torch.stack([picture.expand(channels, -1, -1) for picture in pictures])


def _with_progress(results: Iterable, total: int) -> Iterable:
    if not sys.stderr.isatty():
        return results
    with needs_train_extra():
        from rich.console import Console
        from rich.progress import track
    return track(results, "Reading pictures", total, console=Console(stderr=True), transient=True)


def _decode(path: Path, size: tuple[int, int] | None, max_pixels: int) -> "PillowImage":
    """The upright picture in mode L or RGB."""
    from PIL import Image, ImageOps

    if not path.is_file():  # a named pipe would block for ever
        raise ValueError("a path that is no file")
    if path.stat().st_size == 0:
        raise ValueError("an empty file")
    with Image.open(path, formats=_FORMATS) as file:
        if file.width * file.height > max_pixels:
            raise ValueError(f"{file.width}×{file.height} pixels, more than {max_pixels}")
        if size is not None:  # lets a JPEG be unpacked in a fraction of its size, if that is still twice what is wanted
            file.draft(None, (2 * max(size), 2 * max(size)))
        image = _in_8_bits(ImageOps.exif_transpose(file))
    return image if size is None else image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def _in_8_bits(image: "PillowImage") -> "PillowImage":
    from PIL import Image

    whites = _WHITE_OF_16_BITS if image.mode.startswith("I;16") else _WHITE_OF_MODE.get(image.mode)
    if whites is not None:
        values = np.asarray(image, dtype=np.float64)
        low, high = values.min(), values.max()
        white = next((white for white in whites if low >= 0 and high <= white), None)
        if white is None:
            raise ValueError(f"pixels from {low} to {high}, not in 0 to {whites[-1]}")
        return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return image.convert(mode)


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    return "another kind of file" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
