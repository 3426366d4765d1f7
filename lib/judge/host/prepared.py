"""A problem made ready for workers: checked, its inputs in one shared file, its expected outputs kept on this side."""

import hashlib
import json
import os

from ..problem import Problem
from .cases import plan, problem_with
from .compare import CHECKERS, comparison
from .prompt import offered

OUTPUT_LIMIT = 16 << 20  # bytes per test


def check_problem(problem: Problem, packages: tuple[str, ...] = ()) -> None:
    """Raises ValueError for a problem that can't be judged. `packages`: modules that its tests may import besides the
    standard library."""
    if not problem.tests:
        raise ValueError(f"problem {problem.id} has no tests: there is nothing to judge by")
    if problem.kind not in ("stdio", "function"):
        raise ValueError(f"problem {problem.id} is of kind {problem.kind!r}, not stdio or function")
    if problem.kind == "function":
        for number, test in enumerate(problem.tests):
            if reason := problem_with(test.input, packages):
                raise ValueError(f"problem {problem.id}: no program can be judged by test {number + 1}: {reason}")
    if problem.checker not in CHECKERS:
        raise ValueError(
            f"problem {problem.id} wants the checker {problem.checker!r}; there are: {', '.join(CHECKERS)}"
        )
    if not (0 < problem.time_limit < 3600 and 0 < problem.memory_limit < 1 << 20):
        raise ValueError(
            f"problem {problem.id} has a time limit of {problem.time_limit} s and a memory limit of "
            f"{problem.memory_limit} MiB: both must be above 0, below an hour and a TiB"
        )


def encoded(text: str) -> bytes:
    """The bytes of a program or of a test's text. Raises TypeError for anything else than a string."""
    if not isinstance(text, str):
        raise TypeError(f"programs and tests are strings, not {type(text).__name__}")
    return text.encode("utf-8", "surrogatepass")


def memory_file(*parts: bytes) -> int:
    """The descriptor of an anonymous file in memory with this content."""
    descriptor = os.memfd_create("judge")
    with open(descriptor, "wb", closefd=False) as file:
        file.writelines(parts)
    return descriptor


class PreparedProblem:
    """`inputs`: descriptor of a file in memory with all inputs (of a function problem: plans, see `cases`); workers
    receive the descriptor, so that inputs are never copied per program. `sizes` of the inputs, `expected` outputs,
    `is_right`: compares an output with the expected one, `cases`: cases per test,
    `offered`: what the prompt offers to programs, `digest`: hash of all that a verdict
    depends on."""

    def __init__(self, problem: Problem):
        self.problem = problem
        if problem.kind == "stdio":
            inputs = [encoded(test.input) for test in problem.tests]
            # Correct programs fail on an unfinished last line.
            inputs = [text + b"\n" if text and not text.endswith(b"\n") else text for text in inputs]
            self.cases = [1] * len(inputs)
            self.offered = {}
        else:
            plans = [plan(test.input, problem) for test in problem.tests]
            inputs, self.cases = [text for text, _ in plans], [count for _, count in plans]
            self.offered = offered(problem, {name for text in inputs for name in json.loads(text)["names"]})
        self.sizes = [len(text) for text in inputs]
        self.expected = [encoded(test.output) for test in problem.tests]
        self.is_right = comparison(problem)
        rules = (problem.kind, problem.time_limit, problem.memory_limit, self.is_right)
        digest = hashlib.sha256(repr(rules).encode())
        for text in (*inputs, *self.expected):
            digest.update(len(text).to_bytes(8, "little") + text)
        digest.update(repr([test.visibility for test in problem.tests]).encode())  # decides what feedback may show
        self.digest = digest.digest()
        self.inputs = memory_file(*inputs)

    @property
    def wall_limit(self) -> float:
        """Seconds of wall time for one test: far above the CPU limit, so that a busy machine never reaches it."""
        return 60 * self.problem.time_limit + 10

    @property
    def asleep_limit(self) -> float:
        """Seconds for which a test may wait without using the CPU."""
        return min(5 * self.problem.time_limit + 1, self.problem.time_limit + 2)

    def request(self, order: dict) -> dict:
        """What a worker needs to know about a submission: the problem's limits, and what the job orders."""
        return {
            "kind": self.problem.kind,
            "inputs": self.sizes,
            "time_limit": self.problem.time_limit,
            "memory": self.problem.memory_limit << 20,
            "output": OUTPUT_LIMIT,
            "asleep": self.asleep_limit,
            "wall": self.wall_limit,
            **self.offered,
            **order,
        }

    def close(self) -> None:
        os.close(self.inputs)
