import gzip
import hashlib
from pathlib import Path

import pytest

from unwarp.data import storage

CONTENT = bytes(range(256)) * 20
MD5 = hashlib.md5(CONTENT).hexdigest()
URL = "https://example.org/set/file.gz"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The folder of UNWARP_DATA and the user's cache; a download fails unless a test allows it."""
    named, cache = tmp_path / "named", tmp_path / "cache"
    monkeypatch.setenv("UNWARP_DATA", str(named))
    monkeypatch.setattr("pooch.os_cache", lambda project: cache)
    monkeypatch.setattr(storage, "_download", no_network)
    return named, cache


def no_network(url: str, path: Path) -> None:
    raise ConnectionError("no network")


def serve(monkeypatch, content: bytes) -> list[str]:
    asked = []

    def download(url: str, path: Path) -> None:
        asked.append(url)
        path.write_bytes(content)

    monkeypatch.setattr(storage, "_download", download)
    return asked


def put(folder: Path, content: bytes, name: str = "file.gz") -> Path:
    path = folder / "set" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def fetch(name: str = "file.gz") -> Path:
    return storage.fetch("set", name, url=URL, md5=MD5)


@pytest.mark.parametrize("level", [1, 9])
def test_the_checksum_is_that_of_the_unpacked_bytes(folders, level):
    path = put(folders[0], gzip.compress(CONTENT, level))
    assert fetch() == path


def test_the_named_folder_comes_before_the_cache(folders):
    in_cache = put(folders[1], gzip.compress(CONTENT))
    assert fetch() == in_cache
    in_named = put(folders[0], gzip.compress(CONTENT))
    assert fetch() == in_named


def test_without_the_variable_only_the_cache_counts(folders, monkeypatch):
    monkeypatch.setenv("UNWARP_DATA", "")
    put(folders[0], gzip.compress(CONTENT))
    serve(monkeypatch, gzip.compress(CONTENT))
    assert fetch() == folders[1] / "set" / "file.gz"


def test_a_download_is_asked_for_once(folders, monkeypatch):
    asked = serve(monkeypatch, gzip.compress(CONTENT))
    path = fetch()
    assert path == folders[0] / "set" / "file.gz"
    assert fetch() == path
    assert asked == [URL]
    assert [entry.name for entry in path.parent.iterdir()] == ["file.gz"]


def test_a_file_that_is_not_packed(folders):
    path = put(folders[0], CONTENT, "file.bin")
    assert fetch("file.bin") == path


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"other"), gzip.compress(CONTENT)[:-300], b"no gzip", b"", gzip.compress(CONTENT)[:100]],
    ids=["other", "cut", "not-gzip", "empty", "short"],
)
def test_a_wrong_file_is_named_with_its_checksum(folders, content):
    path = put(folders[0], content)
    with pytest.raises(ValueError, match="remove it to download it again") as caught:
        fetch()
    assert str(path) in str(caught.value)
    assert MD5 in str(caught.value)


def test_a_wrong_download_is_refused_and_not_kept(folders, monkeypatch):
    serve(monkeypatch, gzip.compress(b"a login page"))
    with pytest.raises(ValueError, match=f"wanted unpacked md5 {MD5}, got {hashlib.md5(b'a login page').hexdigest()}"):
        fetch()
    assert not list((folders[0] / "set").iterdir())


def test_no_network_says_what_was_tried_and_what_to_do(folders):
    with pytest.raises(OSError, match="no network") as caught:
        fetch()
    for told in ("file.gz", URL, str(folders[0] / "set"), str(folders[1] / "set"), "UNWARP_DATA"):
        assert told in str(caught.value)
    assert not list((folders[0] / "set").iterdir())


def test_a_root_that_is_a_file_is_an_os_error(folders):
    folders[0].write_text("a file")
    with pytest.raises(OSError, match="UNWARP_DATA"):
        fetch()
