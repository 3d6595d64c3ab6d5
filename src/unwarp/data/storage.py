"""Where data sets live: the folder that `UNWARP_DATA` names, else the user's cache; filled from the official source."""

import gzip
import hashlib
import os
import sys
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from unwarp.data.extras import needs_train_extra

_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30


def fetch(data_set: str, name: str, *, url: str, md5: str) -> Path:
    """The path of a file of a data set, which is downloaded if it is not there.

    It is looked for in `$UNWARP_DATA/<data_set>/`, then in `<data_set>/` of the user's cache. A download goes to the
    first of these, and is there only once it is complete and right.

    Args:
        data_set: name of the folder.
        name: name of the file.
        url: its official source.
        md5: its checksum in hexadecimal; for a name that ends in .gz, that of the unpacked bytes.

    Raises:
        ValueError: if a file is there, or was downloaded, and is not the right one.
        OSError: if it is not there and cannot be downloaded.
    """
    folders = [root / data_set for root in dict.fromkeys((data_folder(), _cache()))]
    for folder in folders:
        if (folder / name).is_file():
            _verify(folder / name, md5, "remove it to download it again")
            return folder / name
    try:
        folders[0].mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folders[0], prefix=".download-") as partial:
            download = Path(partial, name)
            _download(url, download)
            _verify(download, md5, f"{url} may have changed")
            download.replace(folders[0] / name)
    except OSError as error:
        looked = " and ".join(str(folder) for folder in folders)
        raise OSError(
            f"{name}: wanted in {looked}, or from {url}, got {error}; put the file in a folder {data_set} and set "
            "UNWARP_DATA to the folder that holds that folder"
        ) from error
    return folders[0] / name


def local_folder(data_set: str, *, source: str) -> Path:
    """The folder of a data set that has to be fetched by hand, looked for where `fetch` looks.

    Args:
        data_set: name of the folder.
        source: where it can be had.

    Raises:
        OSError: if it is not there, with what to do about it.
    """
    folders = [root / data_set for root in dict.fromkeys((data_folder(), _cache()))]
    for folder in folders:
        if folder.is_dir():
            return folder
    looked = " and ".join(str(folder) for folder in folders)
    raise OSError(
        f"{data_set}: wanted in {looked}, got no such folder; unpack it from {source} and set UNWARP_DATA to the "
        "folder that holds it"
    )


def data_folder() -> Path:
    """The folder with a folder for each data set: where they are looked for first and downloads go."""
    named = os.environ.get("UNWARP_DATA")
    return Path(named).expanduser() if named else _cache()


def _cache() -> Path:
    with needs_train_extra():
        import pooch

    return Path(pooch.os_cache("unwarp"))


def _download(url: str, path: Path) -> None:
    """Download to `path`, with a progress bar on a terminal. OSError if that fails."""
    with needs_train_extra():
        import pooch

    pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_TIMEOUT_SECONDS)(url, str(path), None)


def _verify(path: Path, md5: str, remedy: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: wanted a gzip file with unpacked md5 {md5}, got {error}; {remedy}") from error
    if digest.hexdigest() != md5:
        unpacked = "unpacked " if path.suffix == ".gz" else ""
        raise ValueError(f"{path}: wanted {unpacked}md5 {md5}, got {digest.hexdigest()}; {remedy}")
