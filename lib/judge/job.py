"""One submission under way: decides what is run next and collects what a worker reports until there is a verdict."""

import json
from signal import SIGKILL

from lib.judge import scoring
from lib.judge.problem import Problem
from lib.judge.verdict import ERROR_TYPES, TestResult, Verdict
from lib.judge.worker import OUTPUT_LIMIT, PreparedProblem, Worker, WorkerFault

LONGEST_PROGRAM = 4 << 20  # bytes
PROGRAM_ENDED = 3  # exit status of the tests' process, as in `tester`
QUICK_SHARE, QUICK_MOST = 0.25, 0.25  # CPU budget of a quick pass: of the time limit, at most so many seconds
_FAILURES = set(ERROR_TYPES) - {"success"}


class Job:
    """`key` names the pair of program and problem; `attempts`: how often the judge has failed with it.

    `stops`: at which endings the submission ends, of "timeout" and "failure"; `strict`: no quick pass; `entered`: when
    it came into the queue.
    """

    def __init__(self, key: tuple, program: str, problem: Problem, entered: float, stops: frozenset[str], strict: bool):
        self.key, self.program, self.problem, self.attempts = key, program, problem, 0
        self.stops, self.strict, self.entered = stops, strict, entered
        self.began = 0.0
        self.restart()

    def restart(self) -> None:
        """Forgets what a worker said that failed later."""
        self._results: dict[int, dict[int, TestResult]] = {}  # by test and case
        self._stderr: dict[tuple[int, int], str] = {}
        self._alone: list[list[int]] = []  # tests of a function problem to be run alone, each with its first case
        self._by_reference: set[int] = set()
        self._ended = False

    def start(self, worker: Worker, source: bytes, prepared: PreparedProblem) -> None:
        """Hands the submission to a worker. Raises WorkerFault."""
        self.restart()
        quick = 0.0 if self.strict else min(QUICK_SHARE * self.problem.time_limit, QUICK_MOST)
        order = {"quick": quick, "stop_at_timeout": "timeout" in self.stops, "stop_at_failure": "failure" in self.stops}
        if self.problem.kind == "function":
            tests = [[test, 0] for test in range(len(prepared.sizes))]
            alone = self.strict or len(tests) == 1
            self._alone = tests[1:] if alone else []
            order |= {"run": tests[:1] if alone else tests, "cpu": self.problem.time_limit if alone else quick}
        worker.submit(source, prepared, order)

    def advance(self, worker: Worker, prepared: PreparedProblem) -> bool:
        """Takes one frame of the worker. Returns whether it was the last one.

        Raises WorkerFault, and LookupError, TypeError or ValueError on a frame that makes no sense.
        """
        header, payload = worker.receive(self.problem)
        if "ended" in header:
            self._quick_pass_ended(header, payload, prepared)
            tests = [test for test in range(*header["tests"]) if test not in self._results]
            failed = self._first_failure() if "failure" in self.stops else None
            tests = tests if failed is None else [test for test in tests if test < failed]
            worker.answer({"again": tests, "stop": failed is not None})
        elif "ran" in header:
            self._functions_ran(header, payload, prepared)
            self._ended = self._ended or ("failure" in self.stops and self._first_failure() is not None)
            order = [] if self._ended or not self._alone else [self._alone.pop(0)]
            if "done" not in header:
                worker.answer({"run": order, "cpu": self.problem.time_limit})
        elif "test" in header:
            self._confirm(header)
            result = scoring.alone_result(
                header, payload, prepared.expected[header["test"]], self.problem, OUTPUT_LIMIT
            )
            self._settle(header["test"], 0, result, header["stderr"])
            self._ended = not header["compiled"] or (bool(header["killed"]) and "timeout" in self.stops)
            if "failure" in self.stops:
                worker.answer({"stop": result.error_type != "success"})
        return bool(header.get("done"))

    def _quick_pass_ended(self, header: dict, output: bytes, prepared: PreparedProblem) -> None:
        position = 0
        for test, status, size, stderr in header["ended"]:
            got, expected = output[position : position + size], prepared.expected[test]
            position += size
            report = {"exit": status, "cpu": header["cpu"], "size": size, "stderr": stderr}
            quick = scoring.quick_result(report, got, expected, self.problem, header["final"])
            if quick is not None:
                self._settle(test, 0, quick, stderr)

    def _functions_ran(self, header: dict, payload: bytes, prepared: PreparedProblem) -> None:
        """What became of tests of a function problem. A pass counts at once; a failure among several tests in one
        process only if the program can carry nothing from test to test, else the test is run again alone."""
        records = [json.loads(line) for line in payload.splitlines()]
        if broken := next((record for record in records if record[1] == "broken"), None):
            raise WorkerFault(f"test {broken[0] + 1} can't be run: {broken[2]}")
        quick = len(header["ran"]) > 1
        self._confirm(header)
        if header["tests_exit"] not in (0, PROGRAM_ENDED) and not header["killed"] and self.attempts < 2:
            raise WorkerFault(f"the tests ended with status {header['tests_exit']}")
        loads = any(record[1] == "loaded" for record in records)
        share = header["cpu"] / max(1, sum(type(record[1]) is int for record in records))
        for test, first in header["ran"]:
            mine = [record for record in records if record[0] == test]
            cases = scoring.case_results(mine, range(first, prepared.cases[test]), header, self.problem, share)
            failures = [result for result, _ in cases.values() if result.error_type != "success"]
            in_doubt = quick and failures and (loads or header["killed"])
            final = header["how"].endswith("nothing") and mine and mine[-1][1] == "end"
            if in_doubt and not (final and all(map(scoring.settles, failures))):
                self._alone.append([test, 0])
                continue
            if mine and mine[-1][1] == "end" and mine[-1][2]:
                self._by_reference.add(test)
            for case, (result, traceback) in cases.items():
                self._settle(test, case, result, traceback)
                if result.error_type == "syntax_error" or (result.error_type == "timeout" and "timeout" in self.stops):
                    self._ended = True
                    return
            rest = first + len(cases)
            if rest < prepared.cases[test]:  # the program died of a case; those behind it get a program of their own
                self._alone.insert(0, [test, rest])

    def _confirm(self, header: dict) -> None:
        """The sandbox lets no process cause a SIGKILL: one that no limit explains came from outside, or from a machine
        without memory. Raises WorkerFault for it."""
        explained = header["killed"] or header["memory"] > self.problem.memory_limit << 20
        if -SIGKILL in (header["exit"], header.get("tests_exit")) and not explained:
            raise WorkerFault("a process was killed from outside, or for lack of memory")

    def _settle(self, test: int, case: int, result: TestResult, stderr: str) -> None:
        self._results.setdefault(test, {})[case] = result
        self._stderr[test, case] = stderr

    def _first_failure(self) -> int | None:
        """The first test that failed, if those before it are settled."""
        for test in range(len(self.problem.tests)):
            if test not in self._results:
                return None
            if any(result.error_type != "success" for result in self._results[test].values()):
                return test
        return None

    def verdict(self, prepared: PreparedProblem) -> Verdict:
        """The verdict over the tests that were run, up to the one at which the submission ended. Raises ValueError if
        the worker left one out."""
        places = [(test, case) for test, count in enumerate(prepared.cases) for case in range(count)]
        missing = next((n for n, (test, case) in enumerate(places) if case not in self._results.get(test, ())), None)
        results = [(test, self._results[test][case], self._stderr[test, case]) for test, case in places[:missing]]
        ends = {"syntax_error"} | ({"timeout"} & self.stops) | (_FAILURES if "failure" in self.stops else set())
        end = next((n for n, (_, result, _) in enumerate(results) if result.error_type in ends), None)
        if end is not None:
            results = results[: end + 1]
        elif missing is not None and not self._ended:
            raise ValueError("a worker left out a test")
        return scoring.verdict(results, self.problem, self.program, len(places), len(self._by_reference))


def encoded(program: str) -> bytes:
    """The bytes of a program. Raises TypeError for anything but a string."""
    if not isinstance(program, str):
        raise TypeError(f"a program is a string, not {type(program).__name__}")
    return program.encode("utf-8", "surrogatepass")


def refusal(source: bytes, prepared: PreparedProblem) -> Verdict | None:
    """The verdict on a program that need not be run, else None."""
    if not source.strip():
        reason = "empty program"
    elif len(source) > LONGEST_PROGRAM:
        reason = f"program longer than {LONGEST_PROGRAM} bytes"
    else:
        return None
    results = [(0, TestResult("syntax_error", detail=reason), "")]
    return scoring.verdict(results, prepared.problem, "", sum(prepared.cases))
