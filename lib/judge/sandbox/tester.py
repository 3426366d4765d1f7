"""The tests' process of a function problem. It never shares a process with a program.

A plan (made by `host/cases.py`) is the source of one test in which every case records its ending. The names that only
the program can define come over the wire: functions and classes as references, everything else as plain data. Records
are lines of JSON: [test, "loaded"]; for each case [test, case, ending, detail, what the last call returned, traceback];
[test, "end", objects held by reference] when the test has come to its end; [test, "broken", reason] for a test that is
not Python.
"""

import json
import os
import sys
from importlib import import_module

from encoding import ProtocolError
from wire import PeerGone, Wire

_LONGEST_VALUE = 300  # characters
_LONGEST_INTEGER = 10_000  # digits
PROGRAM_ENDED = 3  # exit status


class _Tests:
    def __init__(self, descriptor: int, records: int):
        self.wire = Wire(descriptor, self.answer, trusting=False)
        self.records, self.test, self.case, self.skipped = records, 0, 0, 0

    def answer(self, operation: str, arguments: list, named: dict):
        """What a program may do with an object of the tests, such as a function that it received: use it."""
        target, *rest = arguments
        if not any(target is shared for shared in self.wire.encoding.objects):
            raise TypeError("only what the tests have handed over can be used")
        if operation == "call":
            return target(*rest, **named)
        if operation in ("iter", "next", "len"):
            return {"iter": iter, "next": next, "len": len}[operation](target)
        if operation == "getattr" and type(target).__module__ == "tests" and not rest[0].startswith("_"):
            return getattr(target, rest[0])
        raise TypeError(f"{operation} is not for an object of the tests")

    def wanted(self, case: int) -> bool:
        self.case = case
        self.wire.last = None
        return case >= self.skipped

    def __enter__(self) -> None:
        if self.wire.gone:
            raise PeerGone

    def __exit__(self, kind, error, traceback) -> bool:
        if self.wire.gone or kind is PeerGone:
            raise PeerGone
        self.record("passed" if error is None else "failed" if kind is AssertionError else "raised", error)
        return True

    def record(self, ending: str, error: BaseException | None) -> None:
        detail, traceback = "", ""
        if error is not None:
            text = type(error).__name__ + (f": {error}" if str(error) else "")
            if of_program := getattr(error, "of_program", None):
                ending, (text, traceback) = "raised", of_program
            detail = text[:_LONGEST_VALUE]
        value = _shown(self.wire.last) if ending == "failed" else ""
        self.write(self.test, self.case, ending, detail, value, traceback)

    def write(self, *record) -> None:
        os.write(self.records, json.dumps(record).encode() + b"\n")

    def run(self, test: int, skipped: int, plan: dict) -> None:
        """Runs one test to its end. Raises PeerGone if the program ends before it."""
        self.test, self.skipped, self.case = test, skipped, skipped
        try:
            code = compile(plan["source"], "tests.py", "exec", dont_inherit=True)
        except Exception as error:
            self.write(test, "broken", f"{type(error).__name__}: {error}")
            return
        self.wire.ask("load")
        self.write(test, "loaded")
        if plan["seed"]:
            import_module("random").seed(0)
        if plan["defines"]:
            self.wire.ask("define", plan["defines"])
        defined = self.wire.ask("names", *plan["names"], *plan["modules"])
        names = {name: defined[name] for name in plan["names"] if name in defined}
        names |= {name: import_module(name) for name in plan["modules"] if name in defined}
        self.wire.encoding.references = 0
        try:
            exec(code, {"__name__": "tests", "__judge__": self, **names})
        except Exception as error:
            self.case = -1  # raised by the code around the cases
            self.record("raised", error)
        if self.wire.gone:
            raise PeerGone
        self.write(test, "end", self.wire.encoding.references)


def _shown(value) -> str:
    sys.set_int_max_str_digits(_LONGEST_INTEGER)  # more would take too long
    try:
        return repr(value)[:_LONGEST_VALUE]
    except ValueError:
        return "a very long integer, or one within another value"
    finally:
        sys.set_int_max_str_digits(0)


def run(descriptor: int, records: int, inputs: int, tests: list[list[int]]) -> int:
    """Runs tests, each [number, first case, size and offset of its plan]. Returns 0, or PROGRAM_ENDED."""
    running = _Tests(descriptor, records)
    try:
        running.wire.serve()  # until the program is ready
        for test, skipped, size, offset in tests:
            running.run(test, skipped, json.loads(os.pread(inputs, size, offset)))
    except (PeerGone, ProtocolError):
        return PROGRAM_ENDED
    except Exception as error:
        if not hasattr(error, "of_program"):
            raise
        return PROGRAM_ENDED
    return 0
