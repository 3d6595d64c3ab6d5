"""Where data sets live: the folder `UNWARP_DATA` names, else the user's cache, filled from the official source."""

import gzip
import hashlib
import os
from pathlib import Path


def data_folder() -> Path:
    """The folder with a sub-folder for each data set."""
    named = os.environ.get("UNWARP_DATA")
    if named:
        return Path(named)
    import pooch

    return Path(pooch.os_cache("unwarp"))


def fetch_gzip(data_set: str, name: str, url: str, md5: str) -> bytes:
    """The unpacked bytes of a gzipped file of a data set, downloaded if it is not there yet.

    Args:
        data_set: its sub-folder.
        name: the file.
        url: the official source.
        md5: of the unpacked bytes.

    Raises:
        ValueError: if the bytes are not the right ones.
        OSError: if the file is not there and cannot be downloaded.
    """
    path = data_folder() / data_set / name
    if not path.exists():
        _download(url, path)
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path}: wanted a gzip file, got {error}; delete it to download it again") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(f"{path}: wanted unpacked bytes of md5 {md5}, got {found}; delete it to download it again")
    return content


def _download(url: str, path: Path) -> None:
    import pooch

    try:
        pooch.retrieve(url, known_hash=None, fname=path.name, path=path.parent, progressbar=False)
    except Exception as error:  # pooch passes on whatever its downloader raises
        raise OSError(
            f"{path} is not there and could not be downloaded from {url} ({error}); get the file by hand and name "
            f"the folder that holds {path.parent.name}/ in the environment variable UNWARP_DATA"
        ) from error
