"""One submission: process 1 of its own pid namespace, with a forked child per run. `stdio` and `functions` run it.

It knows inputs and limits, never an expected output: what a program writes is sent as bytes and compared outside.
"""

import os
import re

import frames
import functions
import isolation
import program
import stdio

STDERR_TAIL = 3000  # bytes, reported
_OPENS_FILES = re.compile(rb"open\s*\(|FileIO|Buffered|TextIOWrapper")


class Submission:
    """Made before it is known what will be submitted: `take` waits for that."""

    def __init__(self, connection, own_namespace: bool):
        self.connection, self.own_namespace = connection, own_namespace
        self.stdout, self.stderr, self.report, self.start = map(os.memfd_create, ("out", "err", "report", "start"))
        self.safe_to_compile = False  # whether a child has compiled the program within the limits
        self.code = None  # of the program, compiled in this process

    def take(self) -> None:
        """Waits for the submission. Raises FrameError if the judge is gone."""
        self.request, _, (source, self.inputs) = frames.receive_descriptors(self.connection, 2)
        self.source = os.pread(source, os.fstat(source).st_size, 0)
        os.close(source)
        self.offsets = [0]
        for size in self.request["inputs"]:
            self.offsets.append(self.offsets[-1] + size)
        self.opens_files = _OPENS_FILES.search(self.source) is not None

    def judge(self) -> None:
        """Runs the tests, sends their frames and a last one with `done`."""
        (functions if self.request["kind"] == "function" else stdio).judge(self)

    def fork(self, life, *arguments) -> int:
        """Forks a child that lives by `life(*arguments)`: it never returns into the code of this process."""
        child = os.fork()
        if child == 0:
            try:
                if not self.own_namespace:  # else all children end with this process
                    isolation.die_with_parent()
                life(*arguments)
            except BaseException as error:
                program.failed(error)
            finally:
                program.leave(1)
        return child

    def answer(self) -> dict:
        """The judge's answer to a frame."""
        return frames.receive(self.connection)[0]

    def reset(self) -> None:
        """Empties the files that are shared with children."""
        for descriptor in (self.stdout, self.stderr, self.report, self.start):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)

    def started(self, status: int) -> str:
        """How the child started, in the words of `program.start`. Raises if it failed: that is no fault of the
        program."""
        how = os.pread(self.start, 400, 0)
        if how.startswith((b"compiled", b"not compiled")) or os.WIFSIGNALED(status):
            return how.decode()
        raise RuntimeError(f"a child {how.decode() or 'failed early'}")

    def place(self, test: int) -> tuple[int, int]:
        """Size and offset of a test's input."""
        return self.offsets[test + 1] - self.offsets[test], self.offsets[test]

    def stdin(self, test: int) -> int:
        """A new file with the input: the program may change its copy."""
        descriptor = os.memfd_create("stdin")
        size, offset = self.place(test)
        while size > 0:
            sent = os.sendfile(descriptor, self.inputs, offset, size)
            if sent == 0:
                raise OSError("the inputs are shorter than announced")
            size, offset = size - sent, offset + sent
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def stderr_tail(self, begin: int = 0, end: int | None = None) -> str:
        """The last part of what was written to stderr between two offsets."""
        end = os.fstat(self.stderr).st_size if end is None else end
        begin = max(begin, end - STDERR_TAIL, 0)
        return os.pread(self.stderr, min(max(0, end - begin), STDERR_TAIL), begin).decode("utf-8", "replace")
