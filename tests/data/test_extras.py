import pytest

from unwarp.data.extras import needs_train_extra


def test_a_missing_library_is_named_with_the_remedy():
    wanted = r'no_such_library: .*pip install "unwarp\[train\]"'
    with pytest.raises(ModuleNotFoundError, match=wanted) as caught, needs_train_extra():
        import no_such_library  # noqa: F401  # pyright: ignore[reportMissingImports]
    assert caught.value.name == "no_such_library"


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), needs_train_extra():
        raise ZeroDivisionError
