"""The tests' process of a function problem. Runs inside the sandbox, but never shares a process with a program.

A plan (made outside by `cases`) is the source of one test in which every case records its own ending. The names that
only the program can have come over the wire: functions and classes as `Remote`s, everything else as plain data. The
records are lines of JSON: [test, "loaded"], [test, case, ending, detail, what the last call gave, traceback] for each
case, and [test, "end", objects held by reference] once the test has come to its end; or [test, "broken", reason] for a
test that is no Python.
"""

import json
import os
from importlib import import_module

import plain

_SHOWN = 300  # characters of a value
PROGRAM_ENDED = 3  # exit status


class _Tests:
    def __init__(self, descriptor: int, records: int):
        self.wire = plain.Wire(descriptor, self.answer, trusting=False)
        self.records, self.test, self.case, self.skipped = records, 0, 0, 0

    def answer(self, operation: str, arguments: list, named: dict):
        """What a program may do with an object of the tests, such as a function that it was given: use it."""
        target, *rest = arguments
        if not any(target is given for given in self.wire.objects):
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
            raise plain.Gone

    def __exit__(self, kind, error, traceback) -> bool:
        if self.wire.gone or kind is plain.Gone:
            raise plain.Gone
        self.record("passed" if error is None else "failed" if kind is AssertionError else "raised", error)
        return True

    def record(self, ending: str, error: BaseException | None) -> None:
        detail, traceback = "", ""
        if error is not None:
            text = type(error).__name__ + (f": {error}" if str(error) else "")
            if of_program := getattr(error, "of_program", None):
                ending, (text, traceback) = "raised", of_program
            detail = text[:_SHOWN]
        value = repr(self.wire.last)[:_SHOWN] if ending == "failed" else ""
        self.write(self.test, self.case, ending, detail, value, traceback)

    def write(self, *record) -> None:
        os.write(self.records, json.dumps(record).encode() + b"\n")

    def run(self, test: int, skipped: int, plan: dict) -> None:
        """Runs one test to its end. Raises Gone when the program ends before it."""
        self.test, self.skipped, self.case, self.wire.references = test, skipped, skipped, 0
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
        names = self.wire.ask("names", *plan["names"], *plan["modules"])
        given = {name: names[name] for name in plan["names"] if name in names}
        given |= {name: import_module(name) for name in plan["modules"] if name in names}
        self.wire.references = 0
        try:
            exec(code, {"__name__": "tests", "__judge__": self, **given})
        except Exception as error:
            self.case = -1  # none of them: in what surrounds them
            self.record("raised", error)
        if self.wire.gone:
            raise plain.Gone
        self.write(test, "end", self.wire.references)


def run(descriptor: int, records: int, inputs: int, tests: list[list[int]]) -> int:
    """Runs tests, each [number, first case, size and offset of its plan]. Returns 0, or PROGRAM_ENDED."""
    running = _Tests(descriptor, records)
    try:
        running.wire.serve()  # until the program is there
        for test, skipped, size, offset in tests:
            running.run(test, skipped, json.loads(os.pread(inputs, size, offset)))
    except (plain.Gone, plain.Broken):
        return PROGRAM_ENDED
    except Exception as error:
        if not hasattr(error, "of_program"):
            raise
        return PROGRAM_ENDED
    return 0
