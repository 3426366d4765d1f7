"""The tests' process of a function problem. It never shares a process with a program.

A plan (made by `host/cases.py`) is the source of one test in which every case records its ending. The names that only
the program can define come over the wire: functions and classes as stand-ins, everything else as plain data. Records
are lines of JSON: [test, "loaded"]; for each case [test, case, ending, detail, what the last call returned, traceback];
[test, "end", objects held by reference] when the test has come to its end; [test, "broken", reason] for a test that is
not Python.
"""

import contextlib
import json
import os
import re
import sys
import types
from importlib import import_module
from typing import Any

from encoding import Late
from nodes import ProtocolError
from operations import OPERATIONS
from reference import Reference, set_made
from wire import PeerGone, Wire

_LONGEST_VALUE = 300  # characters
_LONGEST_INTEGER = 10_000  # digits
PROGRAM_ENDED = 3  # exit status
# Attributes of functions that a program may read, and what leads to frames, code and global names.
_OF_FUNCTIONS = {"__name__", "__qualname__", "__doc__", "__module__"}
_INSIDE = re.compile(r"_|(gi|cr|ag|tb|f|co|func|im)_")
_CLOSED = (types.ModuleType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, dict, list, tuple, set)
_WATCHED = (("sys", "stdin"), ("sys", "stdout"), ("sys", "stderr"), ("builtins", "input"), ("builtins", "print"))


class _Tests(Wire):
    """The tests' end of the wire; as `__judge__`, what a plan calls."""

    def __init__(self, descriptor: int, records: int):
        super().__init__(descriptor, self.answer_program, trusting=False)
        self.records, self.test, self.case, self.skipped = records, 0, 0, 0
        self.globals: dict = {}  # of the test
        self.shared: dict = {}  # what the program defines of the names that the test uses
        self.seen: dict = {}  # the same, as the test knows it
        self.classes: dict[str, str] = {}  # name -> how objects that the test makes are marked, see `Reference`
        self.originals: dict[tuple[str, str], object] = {}
        self.watched: dict[tuple[str, str], object] = {}  # (module, name) -> what the program has there
        self.set_by_program: set[tuple[int, str]] = set()

    def ask(self, operation: str, /, *arguments, **named):
        if operation != "patch":
            self._tell_patches()
        first, updates = self.encoding.next, self.encoding.updates
        value = super().ask(operation, *arguments, **named)
        if operation == "call" and type(value) is Reference and value._far_number >= first:
            made = (how for name, how in self.classes.items() if arguments[0] is self.seen.get(name))
            set_made(value, next(made, ""))
        if self.encoding.updates != updates:
            for name, new in self.shared.items():
                if new is not self.seen.get(name):
                    self.seen[name] = self.globals[name] = new
        return value

    def _tell_patches(self) -> None:
        """Has the program use what the test has put in the place of its standard streams, `input` and the like."""
        for place, known in self.watched.items():
            module, name = place
            current = getattr(sys.modules.get(module), name, known)
            if current is not known:
                original = self.originals[place]
                self.watched[place] = current
                self.ask("patch", module, name, *([] if current is original else [current]))

    def answer_program(self, operation: str, arguments: list, named: dict):
        """What a program may do with objects of the tests that it has received: use them."""
        used = any(map(self.encoding.has_handed_over, arguments[:2]))
        if not used or operation not in OPERATIONS:
            raise TypeError("only what the tests have handed over can be used")
        if operation in ("getattr", "setattr", "delattr"):
            self._check_attribute(operation, *arguments[:2])
        return OPERATIONS[operation](*arguments, **named)

    def _check_attribute(self, operation: str, target, name) -> None:
        """Raises AttributeError for what is no business of a program."""
        own = self._of_tests(target) or self._of_tests(type(target))
        set_before = (id(target), name) in self.set_by_program
        if type(name) is str and not isinstance(target, _CLOSED):
            if operation == "getattr" and (set_before or not _INSIDE.match(name) or name in _OF_FUNCTIONS):
                return
            replaces_method = callable(getattr(type(target), name, None)) if not isinstance(target, type) else False
            free = set_before or not name.startswith("_") or not (name.startswith("__") or hasattr(target, name))
            if operation != "getattr" and own and free and not replaces_method:
                self.set_by_program.add((id(target), name))
                return
        raise AttributeError(f"{type(target).__name__!r} object has no attribute {name!r:.100}")

    def _of_tests(self, value) -> bool:
        return isinstance(value, type) and value.__module__ == "__main__"

    def _share_seeds(self) -> None:
        """Has `random.seed` of the test seed the program too, which draws from a generator of its own."""
        random: Any = import_module("random")

        def seed(*seed, **named) -> None:
            random._inst.seed(*seed, **named)
            self.ask("seed", *seed)

        random._inst.seed(0)
        random.seed = seed

    # What plans call

    def wanted(self, case: int) -> bool:
        self.case = case
        self.last = None
        return case >= self.skipped

    def method(self, kind: type, name: str) -> None:
        """Runs one method of a class of tests, as `unittest` or `pytest` would."""
        if "unittest" not in sys.modules or not issubclass(kind, sys.modules["unittest"].TestCase):
            return getattr(kind(), name)()
        unittest = sys.modules["unittest"]
        with contextlib.suppress(unittest.SkipTest):
            unittest.TestSuite([kind(name)]).debug()

    def __enter__(self) -> None:
        if self.gone:
            raise PeerGone

    def __exit__(self, kind, error, traceback) -> bool:
        if self.gone or kind is PeerGone or kind is ProtocolError:
            raise PeerGone
        if kind is SystemExit and not hasattr(error, "of_program"):  # a test that runs its asserts and then leaves
            kind = AssertionError if error.code else None
        failed = kind is not None and issubclass(kind, AssertionError)
        self.record("passed" if kind is None else "failed" if failed else "raised", error)
        return True

    def record(self, ending: str, error: BaseException | None) -> None:
        self.open = False
        detail, traceback = "", ""
        if error is not None and ending != "passed":
            if of_program := getattr(error, "of_program", None):
                ending, (detail, traceback) = "raised", of_program
            else:
                detail = type(error).__name__ + (f": {error}" if str(error) else "")
        value = _shown(self.last) if ending == "failed" else ""
        self.write(self.test, self.case, ending, detail[:_LONGEST_VALUE], value, traceback)
        self.open = True

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
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        self.globals = vars(module)
        self.seen, self.watched = {}, {}
        offers = {name: Late(name, self.globals) for name in plan["offers"]}
        self.shared = super().ask("load", offers, *plan["names"], *plan["modules"])
        self.write(test, "loaded")
        if plan["seed"]:
            self._share_seeds()
        self.globals["__judge__"] = self
        self.globals |= {name: self.shared[name] for name in plan["names"] if name in self.shared}
        self.globals |= {name: import_module(name) for name in plan["modules"] if name in self.shared}
        self.seen = dict(self.shared)
        named = plan.get("named", ())
        self.classes = {name: "named" if name in named else "made" for name in plan["classes"]}
        for place in (*_WATCHED, *map(tuple, plan["patches"])):
            self.watched[place] = getattr(import_module(place[0]), place[1], None)
        self.originals = dict(self.watched)
        self.encoding.references = 0
        try:
            exec(code, self.globals)
        except PeerGone:
            raise
        except BaseException as error:
            self.case = -1  # raised by the code around the cases
            self.record("raised", error)
        if self.gone:
            raise PeerGone
        self.write(test, "end", self.encoding.references)


def _shown(value) -> str:
    sys.set_int_max_str_digits(_LONGEST_INTEGER)  # more would take too long
    try:
        return repr(value)[:_LONGEST_VALUE]
    except ValueError:
        return "a very long integer, or one within another value"
    except RecursionError:
        return "a value nested too deep to be shown"
    finally:
        sys.set_int_max_str_digits(0)


def run(descriptor: int, records: int, inputs: int, tests: list[list[int]], begin=None) -> int:
    """Runs tests, each [number, first case, size and offset of its plan]; calls `begin` with 1, 2, ... before each.
    Returns 0, or PROGRAM_ENDED."""
    running = _Tests(descriptor, records)
    try:
        running.serve()  # until the program is ready
        for count, (test, skipped, size, offset) in enumerate(tests, 1):
            if begin:
                begin(count)
            running.run(test, skipped, json.loads(os.pread(inputs, size, offset)))
    except (PeerGone, ProtocolError):
        return PROGRAM_ENDED
    except Exception as error:
        if not hasattr(error, "of_program"):
            raise
        return PROGRAM_ENDED
    return 0
