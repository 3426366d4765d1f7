"""One submission in progress: decides what runs next and collects a worker's reports until there is a verdict."""

import json
import time
from signal import SIGKILL

from ..errors import WorkerFault
from ..problem import Problem
from ..verdict import TestResult, Verdict
from . import scoring
from .memory import Key
from .prepared import OUTPUT_LIMIT, PreparedProblem, encoded
from .worker import Worker

LONGEST_PROGRAM = 4 << 20  # bytes
PROGRAM_ENDED = 3  # exit status of the tests' process, as in `sandbox/tester.py`
QUICK_SHARE, QUICK_LIMIT = 0.25, 0.25  # CPU budget of a quick pass: share of the time limit, and seconds at most


class Job:
    """`key`: hashes of program and problem, `alike`: of the program without comments; `attempts`: how often the judge
    has failed with the submission; `entered`: when it entered the queue, `began`: when a worker got it; `strict`: no
    quick pass."""

    def __init__(self, key: Key, alike: Key, program: str, problem: Problem, entered: float, strict: bool):
        self.key, self.alike, self.entered, self.strict = key, alike, entered, strict
        self.program, self.problem = program, problem
        self.attempts, self.began = 0, 0.0
        self._restart()

    def _restart(self) -> None:
        """Forgets the reports of a worker that has failed since."""
        self._results: dict[int, dict[int, tuple[TestResult, str]]] = {}  # test -> case -> result and stderr
        self._alone: list[list[int]] = []  # function tests to be run alone, each with its first case
        self._by_reference: set[int] = set()
        self._ended = False

    def start(self, worker: Worker, prepared: PreparedProblem) -> None:
        """Sends the submission to a worker. Raises WorkerFault."""
        self._restart()
        quick = 0.0 if self.strict else min(QUICK_SHARE * self.problem.time_limit, QUICK_LIMIT)
        order: dict = {"quick": quick}
        if self.problem.kind == "function":
            tests = [[test, 0] for test in range(len(prepared.sizes))]
            alone = self.strict or len(tests) == 1
            self._alone = tests[1:] if alone else []
            order |= {"run": tests[:1] if alone else tests, "cpu": self.problem.time_limit if alone else quick}
        worker.submit(encoded(self.program), prepared, order)
        self.began = time.monotonic()

    def advance(self, worker: Worker, prepared: PreparedProblem) -> bool:
        """Takes one frame of the worker. Returns whether it was the last one.

        Raises WorkerFault, and LookupError, TypeError or ValueError for a frame that makes no sense.
        """
        header, payload = worker.receive(prepared)
        if "ended" in header:
            self._quick_pass_ended(header, payload, prepared)
            worker.answer({"again": [test for test in range(*header["tests"]) if test not in self._results]})
        elif "ran" in header:
            self._functions_ran(header, payload, prepared)
            order = [self._alone.pop(0)] if self._alone else []
            if "done" not in header:
                worker.answer({"run": order, "cpu": self.problem.time_limit})
        elif "test" in header:
            self._test_ended(header, payload, prepared)
        return bool(header.get("done"))

    def _test_ended(self, report: dict, output: bytes, prepared: PreparedProblem) -> None:
        self._check_kill(report)
        expected = prepared.expected[report["test"]]
        result = scoring.stdio_result(report, output, expected, self.problem, prepared.is_right, OUTPUT_LIMIT)
        self._settle(report["test"], 0, result, report["stderr"])
        self._ended = self._ended or not report["compiled"] or bool(report["killed"])

    def _quick_pass_ended(self, header: dict, output: bytes, prepared: PreparedProblem) -> None:
        position = 0
        for test, status, size, stderr in header["ended"]:
            test_output, expected = output[position : position + size], prepared.expected[test]
            position += size
            report = {"exit": status, "cpu": header["cpu"], "size": size, "stderr": stderr}
            result = scoring.quick_result(
                report, test_output, expected, self.problem, prepared.is_right, header["final"]
            )
            if result is not None:
                self._settle(test, 0, result, stderr)
        if "timeout" in header:
            self._test_ended(header["timeout"], b"", prepared)

    def _functions_ran(self, header: dict, payload: bytes, prepared: PreparedProblem) -> None:
        """Takes the records of tests of a function problem. A pass counts at once. A failure among several tests in
        one process counts only if the program can carry nothing from test to test; else the test runs again, alone.
        `timeout` in the header names a test that alone is at fault for the time limit."""
        records = [json.loads(line) for line in payload.splitlines()]
        if broken := next((record for record in records if record[1] == "broken"), None):
            raise WorkerFault(f"test {broken[0] + 1} can't be run: {broken[2]}")
        quick = len(header["ran"]) > 1
        self._check_kill(header)
        if header["tests_exit"] not in (0, PROGRAM_ENDED) and not header["killed"] and self.attempts < 2:
            raise WorkerFault(f"the tests ended with status {header['tests_exit']}")
        loaded = any(record[1] == "loaded" for record in records)
        cpu_per_case = header["cpu"] / max(1, sum(type(record[1]) is int for record in records))
        for test, first in header["ran"]:
            of_test = [record for record in records if record[0] == test]
            cases = range(first, prepared.cases[test])
            results = scoring.case_results(of_test, cases, header, self.problem, cpu_per_case)
            failures = [result for result, _ in results.values() if result.error_type != "success"]
            complete = bool(of_test) and of_test[-1][1] == "end"
            timed_out = test == header.get("timeout")
            if quick and failures and (loaded or header["killed"]) and not (timed_out and test == header["ran"][0][0]):
                settled = header["how"].endswith("nothing") and (complete or timed_out)
                if not (settled and all(map(scoring.independent_of_earlier_tests, failures))):
                    self._alone.append([test, 0])
                    continue
            if complete and of_test[-1][2]:
                self._by_reference.add(test)
            for case, (result, traceback) in results.items():
                self._settle(test, case, result, traceback)
                if result.error_type in ("syntax_error", "timeout"):
                    self._ended = True
                    self._alone = [order for order in self._alone if order[0] < test]
                    return
            rest = first + len(results)
            if rest < prepared.cases[test]:  # the program died in a case; those after it get a program of their own
                self._alone.insert(0, [test, rest])

    def _check_kill(self, header: dict) -> None:
        """Raises WorkerFault for a SIGKILL that no limit explains. The sandbox lets no process cause a SIGKILL, so it
        came from outside, or from a machine without memory."""
        explained = header["killed"] or header["memory"] > self.problem.memory_limit << 20
        if -SIGKILL in (header["exit"], header.get("tests_exit")) and not explained:
            raise WorkerFault("a process was killed from outside, or for lack of memory")

    def _settle(self, test: int, case: int, result: TestResult, stderr: str) -> None:
        self._results.setdefault(test, {})[case] = result, stderr

    def verdict(self, prepared: PreparedProblem) -> Verdict:
        """The verdict on the tests that ran, up to the one that ended the submission. Raises ValueError if the worker
        left out a test."""
        places = [(test, case) for test, count in enumerate(prepared.cases) for case in range(count)]
        results: list[tuple[int, TestResult, str]] = []
        for test, case in places:
            if case not in self._results.get(test, ()):
                if not self._ended:
                    raise ValueError("a worker left out a test")
                break
            results.append((test, *self._results[test][case]))
            if results[-1][1].error_type in ("syntax_error", "timeout"):
                break
        return scoring.verdict(results, self.problem, self.program, len(places), len(self._by_reference))


def refusal(source: bytes, prepared: PreparedProblem) -> Verdict | None:
    """The verdict on a program that need not run (empty, or too long), else None."""
    if not source.strip():
        reason = "empty program"
    elif len(source) > LONGEST_PROGRAM:
        reason = f"program longer than {LONGEST_PROGRAM} bytes"
    else:
        return None
    results = [(0, TestResult("syntax_error", detail=reason), "")]
    return scoring.verdict(results, prepared.problem, "", sum(prepared.cases))
