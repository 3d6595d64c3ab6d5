"""Pictures to learn from: where they come from, and what is done to them."""

from unwarp.data.arrays import load_arrays
from unwarp.data.catalog import load
from unwarp.data.clutter import add_clutter
from unwarp.data.digits import load_digits
from unwarp.data.distort import DISTORTIONS, Distorted, Distortion
from unwarp.data.folder import load_folder, read_picture
from unwarp.data.mnist import load_mnist
from unwarp.data.pictures import Pictures, Splits

__all__ = [
    "DISTORTIONS",
    "Distorted",
    "Distortion",
    "Pictures",
    "Splits",
    "add_clutter",
    "load",
    "load_arrays",
    "load_digits",
    "load_folder",
    "load_mnist",
    "read_picture",
]
