"""Errors of data sets; each composes its message from what it was given."""

from pathlib import Path


class DatasetNotFoundError(FileNotFoundError):
    """A data set, or a file of it, is not where it was sought.

    Args:
        path: What is missing.
        layout: The expected tree, one path per line.
        how_to_get: What to do.
    """

    def __init__(self, path: Path | str, layout: str, how_to_get: str) -> None:
        super().__init__(
            f"`{path}` should exist. Found nothing there.\nExpected layout:\n{layout}\n{how_to_get}"
        )
        self._given = (path, layout, how_to_get)

    def __reduce__(self) -> tuple[type, tuple[Path | str, str, str]]:
        # An OSError gives its arguments meanings of its own, so pickling must not rely on `args`.
        return type(self), self._given


class CorruptFileError(ValueError):
    """A file cannot be what it should be.

    Args:
        path: The file.
        what: Its role.
        expected: What it should hold.
        found: What it holds.
    """

    def __init__(self, path: Path | str, what: str, expected: str, found: str) -> None:
        super().__init__(path, what, expected, found)

    def __str__(self) -> str:
        path, what, expected, found = self.args
        return (
            f"The {what} `{path}` should hold {expected}. Found {found}. The file is corrupt: fetch"
            " it again."
        )


class LabelError(ValueError):
    """A label lies outside the classes.

    Args:
        path: The file.
        expected: The labels that have a meaning.
        found: The labels that have none.
    """

    def __init__(self, path: Path | str, expected: str, found: list[int]) -> None:
        super().__init__(path, expected, found)

    def __str__(self) -> str:
        path, expected, found = self.args
        return (
            f"The labels of `{path}` should be {expected}. Found {found}. Check that the file"
            " belongs to this data set."
        )
