import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unwarp.data.reading import read_picture

LOSSLESS = [("png", {}), ("bmp", {}), ("tiff", {}), ("webp", {"lossless": True}), ("ppm", {})]


def smooth(height: int = 24, width: int = 32) -> np.ndarray:
    """A smooth colour picture, `[H, W, 3]` uint8."""
    y, x = np.mgrid[:height, :width]
    planes = [255 * x / (width - 1), 255 * y / (height - 1), 127.5 + 127.5 * np.sin(x / 5 + y / 7)]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


def saved(path: Path, image: np.ndarray | Image.Image, **options) -> Path:
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def planes(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1) if image.ndim == 3 else torch.from_numpy(image.copy())[None]


@pytest.mark.parametrize(("suffix", "options"), LOSSLESS)
def test_lossless_formats_return_the_pixels(tmp_path, suffix, options):
    colour = smooth()
    assert torch.equal(read_picture(saved(tmp_path / f"colour.{suffix}", colour, **options)), planes(colour))
    grey = colour[..., 2]
    assert torch.equal(read_picture(saved(tmp_path / f"grey.{suffix}", grey, **options)), planes(grey))


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_formats_return_nearly_the_pixels(tmp_path, suffix):
    read = read_picture(saved(tmp_path / f"colour.{suffix}", smooth(), quality=95))
    assert (read.float() - planes(smooth()).float()).abs().mean() < 4


def test_a_wrong_suffix_does_not_matter(tmp_path):
    path = saved(tmp_path / "picture.jpg", smooth(), format="PNG")
    assert torch.equal(read_picture(str(path)), planes(smooth()))


def test_colour_is_found_in_the_pixels(tmp_path):
    grey = smooth()[..., 2]
    path = saved(tmp_path / "grey.png", np.stack([grey] * 3, axis=-1))
    assert torch.equal(read_picture(path), planes(grey))
    assert read_picture(path, 3).shape == (3, 24, 32)
    colour = saved(tmp_path / "colour.png", smooth())
    luma = (smooth() * np.array([0.299, 0.587, 0.114])).sum(-1)
    assert np.abs(read_picture(colour, 1)[0].numpy() - luma).max() <= 1


def test_channels_are_one_or_three(tmp_path):
    with pytest.raises(ValueError, match="channels: wanted 1"):
        read_picture(saved(tmp_path / "a.png", smooth()), 4)


def test_palettes_and_two_colours(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([250, 10, 0, 0, 20, 240])
    palette.putpixel((1, 0), 1)
    for suffix in ("png", "gif", "bmp"):
        read = read_picture(saved(tmp_path / f"palette.{suffix}", palette))
        assert read[:, 0].T.tolist() == [[250, 10, 0], [0, 20, 240]]
    bits = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    assert read_picture(saved(tmp_path / "bits.png", bits)).tolist() == [[[0, 255]]]


def test_what_is_transparent_is_laid_on_black(tmp_path):
    rgba = np.array([[[200, 100, 40, 255], [200, 100, 40, 51], [200, 100, 40, 0]]], dtype=np.uint8)
    wanted = [[200, 100, 40], [40, 20, 8], [0, 0, 0]]
    for suffix, options in (("png", {}), ("tiff", {}), ("webp", {"lossless": True, "exact": True})):
        read = read_picture(saved(tmp_path / f"rgba.{suffix}", rgba, **options))
        assert read[:, 0].T.tolist() == wanted

    grey_alpha = Image.merge("LA", [Image.new("L", (1, 1), 200), Image.new("L", (1, 1), 51)])
    assert read_picture(saved(tmp_path / "la.png", grey_alpha)).tolist() == [[[40]]]


@pytest.mark.parametrize("transparency", [0, bytes([0, 51])])
def test_a_palette_with_transparency(tmp_path, transparency):
    palette = Image.new("P", (2, 1))
    palette.putpalette([250, 10, 0, 0, 20, 240])
    palette.putpixel((1, 0), 1)
    read = read_picture(saved(tmp_path / "palette.png", palette, transparency=transparency))
    opaque = transparency == 0
    assert read[:, 0].T.tolist() == [[0, 0, 0], [0, 20, 240] if opaque else [0, 4, 48]]


def test_a_transparent_grey_or_colour_value(tmp_path):
    grey = np.array([[7, 90]], dtype=np.uint8)
    assert read_picture(saved(tmp_path / "grey.png", grey, transparency=7)).tolist() == [[[0, 90]]]
    colour = np.array([[[1, 2, 3], [9, 8, 7]]], dtype=np.uint8)
    read = read_picture(saved(tmp_path / "colour.png", colour, transparency=(1, 2, 3)))
    assert read[:, 0].T.tolist() == [[0, 0, 0], [9, 8, 7]]


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_16_bits_are_scaled_to_8(tmp_path, suffix):
    levels = np.arange(256, dtype=np.uint16).reshape(8, 32)
    path = saved(tmp_path / f"deep.{suffix}", levels * 257)
    assert torch.equal(read_picture(path), planes(levels.astype(np.uint8)))
    assert read_picture(path, 3).shape == (3, 8, 32)


def test_16_bits_of_the_other_byte_order(tmp_path):
    levels = (np.arange(256, dtype=np.uint16) * 257).reshape(8, 32)
    raw = Image.frombytes("I;16B", (32, 8), levels.astype(">u2").tobytes())
    read = read_picture(saved(tmp_path / "big.tiff", raw))
    assert read.flatten().tolist() == list(range(256))


def test_32_bits_are_scaled_to_8(tmp_path):
    levels = np.array([[0, 51, 255]])
    for name, image in {
        "16 in 32": (levels * 257).astype(np.int32),
        "32": (levels * ((2**31 - 1) // 255)).astype(np.int32),
        "unit": (levels / 255).astype(np.float32),
        "bytes": levels.astype(np.float32),
        "words": (levels * 257).astype(np.float32),
    }.items():
        assert read_picture(saved(tmp_path / f"{name}.tiff", image)).tolist() == [levels.tolist()], name


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 1e6])
def test_floats_without_a_meaning_are_refused(tmp_path, bad):
    path = saved(tmp_path / "bad.tiff", np.array([[0.5, bad]], dtype=np.float32))
    with pytest.raises(ValueError, match=r"bad.tiff: wanted a picture"):
        read_picture(path)


def test_cmyk_becomes_colour(tmp_path):
    cmyk = Image.fromarray(smooth()).convert("CMYK")
    for suffix, options in (("tiff", {}), ("jpg", {"quality": 95})):
        read = read_picture(saved(tmp_path / f"cmyk.{suffix}", cmyk, **options))
        assert read.shape == (3, 24, 32)
        assert (read.float() - planes(smooth()).float()).abs().mean() < 4


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda stored: stored),
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (4, lambda stored: stored[::-1]),
        (5, lambda stored: stored.transpose(1, 0, 2)),
        (6, lambda stored: stored.transpose(1, 0, 2)[:, ::-1]),
        (7, lambda stored: stored[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda stored: stored.transpose(1, 0, 2)[::-1]),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_orientation_in_exif_is_applied(tmp_path, orientation, upright, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = read_picture(saved(tmp_path / f"plain.{suffix}", smooth()))
    turned = read_picture(saved(tmp_path / f"turned.{suffix}", smooth(), exif=exif))
    assert torch.equal(turned, planes(np.ascontiguousarray(upright(plain.permute(1, 2, 0).numpy()))))


def test_size_is_height_and_width(tmp_path):
    path = saved(tmp_path / "a.png", smooth())
    assert read_picture(path, size=(5, 9)).shape == (3, 5, 9)
    wanted = np.array(Image.fromarray(smooth()).resize((9, 5), Image.Resampling.BILINEAR))
    assert torch.equal(read_picture(path, size=(5, 9)), planes(wanted))
    with pytest.raises(ValueError, match="size: wanted"):
        read_picture(path, size=(0, 9))


def test_a_large_jpeg_is_resized_as_if_unpacked_in_full(tmp_path):
    path = saved(tmp_path / "large.jpg", smooth(480, 640), quality=95)
    full = np.array(Image.open(path).resize((40, 30), Image.Resampling.BILINEAR))
    assert (read_picture(path, size=(30, 40)).float() - planes(full).float()).abs().max() < 8


def damaged(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.png"
    random = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    match kind.split()[0]:
        case "empty":
            path.touch()
        case "text":
            path.write_text("not a picture\n" * 100)
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "nowhere.png")
        case "pipe":
            os.mkfifo(path)
        case "truncated":
            saved(path, random, format=kind.split()[1])
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "header":
            saved(path, random, format=kind.split()[1])
            path.write_bytes(path.read_bytes()[:20])
        case "flipped":
            saved(path, random)
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0xFF
            path.write_bytes(content)
        case "bomb":
            header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
            chunk = b"IHDR" + header
            path.write_bytes(
                b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0" * 99
            )
    return path


FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
DAMAGE = ["missing", "empty", "text", "folder", "link", "pipe", "flipped", "bomb"]
DAMAGE += [f"{kind} {name}" for kind in ("truncated", "header") for name in FORMATS]


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_a_value_error_that_names_the_file(tmp_path, kind):
    path = damaged(tmp_path, kind)
    with pytest.raises(ValueError, match="wanted a picture") as caught:
        read_picture(path)
    assert str(path) in str(caught.value)


def test_too_many_pixels_are_refused(tmp_path):
    path = saved(tmp_path / "a.png", smooth())
    assert read_picture(path, max_pixels=24 * 32).shape == (3, 24, 32)
    with pytest.raises(ValueError, match=r"a.png: .* 32×24 pixels, more than 767"):
        read_picture(path, max_pixels=24 * 32 - 1)


def test_formats_that_run_programs_are_not_tried(tmp_path):
    path = tmp_path / "a.png"
    saved(path, smooth(), format="EPS")
    with pytest.raises(ValueError, match="got another kind of file"):
        read_picture(path)
