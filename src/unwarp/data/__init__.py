"""Pictures to learn from: where they come from, how they are read, split, distorted and put into batches."""

from unwarp.data.arrays import load_arrays
from unwarp.data.catalog import load
from unwarp.data.clutter import add_clutter
from unwarp.data.digits import load_digits
from unwarp.data.distort import DISTORTIONS, Distorted, Distortion
from unwarp.data.extrude import Extrusion
from unwarp.data.folder import load_folder
from unwarp.data.mnist import load_mnist
from unwarp.data.pictures import Pictures, Splits
from unwarp.data.reading import read_picture

__all__ = [
    "DISTORTIONS",
    "Distorted",
    "Distortion",
    "Extrusion",
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
