"""The libraries that `pip install unwarp` leaves out, and what to say where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs_train_extra() -> Iterator[None]:
    """Around the import of a library of the extra `train`: a ModuleNotFoundError then says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{error.name}: wanted for reading data sets, got no such module; pip install "unwarp[train]"',
            name=error.name,
        ) from error
