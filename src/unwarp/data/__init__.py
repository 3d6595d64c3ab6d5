"""Pictures to learn from: where they come from, how they are read, split, distorted and put into batches."""

from unwarp.data.addition import draw_addends
from unwarp.data.arrays import load_arrays
from unwarp.data.birds import load_birds
from unwarp.data.catalog import load
from unwarp.data.clutter import add_clutter
from unwarp.data.digits import load_digits
from unwarp.data.distort import DISTORTIONS, Distorted, Distortion
from unwarp.data.extrude import Extrusion
from unwarp.data.folder import load_folder
from unwarp.data.mnist import load_mnist
from unwarp.data.pictures import Pictures, Splits
from unwarp.data.reading import read_picture
from unwarp.data.sequences import draw_sequences, load_mnist_sequences

__all__ = [
    "DISTORTIONS",
    "Distorted",
    "Distortion",
    "Extrusion",
    "Pictures",
    "Splits",
    "add_clutter",
    "draw_addends",
    "draw_sequences",
    "load",
    "load_arrays",
    "load_birds",
    "load_digits",
    "load_folder",
    "load_mnist",
    "load_mnist_sequences",
    "read_picture",
]
