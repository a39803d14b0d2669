"""A command run in a pseudo-terminal, and what a person would then see of it."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parents[2]


def screen(command: Sequence[str], columns: int, folder: Path, rows: int = 50) -> list[str]:
    """The lines of the terminal and of what has left it at the top, without blank ones."""
    terminal = pyte.HistoryScreen(columns, rows, history=10_000)
    stream = pyte.ByteStream(terminal)
    for chunk in _output(command, columns, folder, rows):
        stream.feed(chunk)
    left = ["".join(line[x].data for x in range(columns)) for line in terminal.history.top]
    return [line.rstrip() for line in [*left, *terminal.display] if line.strip()]


def _output(command: Sequence[str], columns: int, folder: Path, rows: int) -> Iterator[bytes]:
    """What a command writes to a terminal of this size, as it comes."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    hidden = ("COLUMNS", "LINES", "NO_COLOR", "PYTHONWARNINGS")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, cwd=folder, env=environment
    ) as process:
        os.close(its)
        try:
            while chunk := os.read(ours, 4096):
                yield chunk
        except OSError:
            # So Linux reports that the other side has been closed.
            pass
        os.close(ours)
    assert process.returncode == 0
