"""The standard streams of a program, under their paths too: /dev/stdin, /dev/fd/1, /proc/self/fd/2.

The sandbox has no /proc, to which these paths lead. So `open` and `os.open` of a program that names one of them open a
duplicate of the descriptor, as if the stream were a pipe: nothing is read again, nothing written before is cut off.
"""

import builtins
import io
import os
import sys

_NAMES = ("stdin", "stdout", "stderr")
_PATHS = {f"{folder}/fd/{number}": number for folder in ("/dev", "/proc/self") for number in range(len(_NAMES))}
_PATHS |= {f"/dev/{name}": number for number, name in enumerate(_NAMES)}
_STREAMS = (
    ("stdin", 0, "r", "surrogateescape", None),
    ("stdout", 1, "w", "surrogateescape", "\n"),
    ("stderr", 2, "w", "backslashreplace", "\n"),
)
_stderr: io.TextIOWrapper | None = None  # opened last
_open, _open_descriptor, _duplicate = io.open, os.open, os.dup


def open_standard() -> None:
    """Opens new standard streams, for each run: a stream remembers what it has read ahead. Does what `open` does, but
    does not ask whether the file is a terminal. Keeps a stderr that is still good: all runs write to the same file."""
    global _stderr
    keep = _stderr is not None and sys.__stderr__ is _stderr and not _stderr.closed
    for name, descriptor, mode, errors, newline in _STREAMS[: 2 if keep else 3]:
        raw = io.FileIO(descriptor, mode, closefd=False)
        size: int = getattr(raw, "_blksize")  # noqa: B009
        buffer = io.BufferedReader(raw, size) if mode == "r" else io.BufferedWriter(raw, size)
        stream = io.TextIOWrapper(buffer, "utf-8", errors, newline)
        setattr(stream, "mode", mode)  # noqa: B010
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    _stderr = sys.__stderr__


def know_paths() -> None:
    """Has the program's functions that open files know the paths of the streams."""

    def open(file, *arguments, **named):
        return _open(_opened(file, file), *arguments, **named)

    def open_descriptor(path, *arguments, **named):
        descriptor = _opened(path, None)
        return _open_descriptor(path, *arguments, **named) if descriptor is None else descriptor

    for module, function in ((builtins, open), (io, open), (os, open_descriptor)):
        setattr(module, "open", function)  # noqa: B010


def _opened(path, other):
    """A new descriptor of the stream with this path; `other` for any other path."""
    if isinstance(path, str | bytes | os.PathLike):
        number = _PATHS.get(os.fsdecode(path))
        return other if number is None else _duplicate(number)
    return other
