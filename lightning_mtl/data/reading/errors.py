"""Errors of data sets, which compose their messages from the arguments."""

from pathlib import Path


class DatasetNotFoundError(FileNotFoundError):
    """Raised if a data set, or a file of it, is missing.

    Args:
        path: what is missing.
        layout: the expected tree, one path per line.
        how_to_get: where the files are to be had.
    """

    def __init__(self, path: Path | str, layout: str, how_to_get: str) -> None:
        super().__init__(
            f"`{path}` should exist. Found nothing there.\nExpected layout:\n{layout}\n{how_to_get}"
        )
        self._given = (path, layout, how_to_get)

    def __reduce__(self) -> tuple[type, tuple[Path | str, str, str]]:
        # An OSError interprets its arguments, so pickling cannot rely on `args`.
        return type(self), self._given


class CorruptFileError(ValueError):
    """Raised if a file does not hold what its name promises.

    Args:
        path: the file.
        what: the role of the file.
        expected: what the file should hold.
        found: what the file holds.
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
    """Raised if a file has labels that are no classes.

    Args:
        path: the file.
        expected: the labels that have a meaning.
        found: the labels that have none.
    """

    def __init__(self, path: Path | str, expected: str, found: list[int]) -> None:
        super().__init__(path, expected, found)

    def __str__(self) -> str:
        path, expected, found = self.args
        return (
            f"The labels of `{path}` should be {expected}. Found {found}. Check that the file"
            " belongs to this data set."
        )


class LabelFileError(ValueError):
    """Raised if a file of one's own data is not as its entry should be.

    Args:
        path: the file.
        expected: what the file should hold.
        found: what the file holds.
        remedy: what to do, a sentence.
    """

    def __init__(self, path: Path | str, expected: str, found: str, remedy: str) -> None:
        super().__init__(path, expected, found, remedy)

    def __str__(self) -> str:
        path, expected, found, remedy = self.args
        return f"The labels `{path}` should be {expected}. Found {found}. {remedy}"
