"""One submission under way: collects what a worker reports until there is a verdict."""

from lib.judge import scoring
from lib.judge.verdict import TestResult, Verdict
from lib.judge.worker import OUTPUT_LIMIT, PreparedProblem, Worker
from lib.problems import Problem

LONGEST_PROGRAM = 4 << 20  # bytes


class Job:
    """`key` names the pair of program and problem; `first_attempt` is false once the judge has failed with it."""

    def __init__(self, key: tuple[bytes, bytes], program: str, problem: Problem, first_attempt: bool = True):
        self.key, self.program, self.problem, self.first_attempt = key, program, problem, first_attempt
        self._results: dict[int, TestResult] = {}
        self._stderr: dict[int, str] = {}

    def advance(self, worker: Worker, prepared: PreparedProblem) -> bool:
        """Takes one frame of the worker. Returns whether it was the last one.

        Raises WorkerFault, and LookupError, TypeError or ValueError on a frame that makes no sense.
        """
        header, output = worker.receive(self.problem)
        if "ended" in header:  # the quick pass
            position = 0
            for test, status, size, stderr in header["ended"]:
                got, expected = output[position : position + size], prepared.expected[test]
                position += size
                report = {"exit": status, "cpu": header["cpu"], "size": size, "stderr": stderr}
                quick = scoring.quick_result(report, got, expected, self.problem, header["final"])
                if quick is not None:
                    self._results[test] = quick
                    self._stderr[test] = stderr
            worker.ask_again([test for test in range(*header["tests"]) if test not in self._results])
        elif "test" in header:
            test = header["test"]
            expected = prepared.expected[test]
            self._results[test] = scoring.alone_result(header, output, expected, self.problem, OUTPUT_LIMIT)
            self._stderr[test] = header["stderr"]
        return bool(header.get("done"))

    def verdict(self) -> Verdict:
        """The verdict over the tests that were run. Raises ValueError if the worker left one out."""
        if sorted(self._results) != list(range(len(self._results))):
            raise ValueError("a worker left out a test")
        results = [self._results[test] for test in range(len(self._results))]
        failed = next((test for test, result in enumerate(results) if result.error_type != "success"), None)
        return scoring.verdict(results, self.problem, self.program, self._stderr.get(failed, ""))


def encoded(program: str) -> bytes:
    """The bytes of a program. Raises TypeError for anything but a string."""
    if not isinstance(program, str):
        raise TypeError(f"a program is a string, not {type(program).__name__}")
    return program.encode("utf-8", "surrogatepass")


def refusal(source: bytes, problem: Problem) -> Verdict | None:
    """The verdict on a program that need not be run, else None."""
    if not source.strip():
        reason = "empty program"
    elif len(source) > LONGEST_PROGRAM:
        reason = f"program longer than {LONGEST_PROGRAM} bytes"
    else:
        return None
    return scoring.verdict([TestResult("syntax_error", detail=reason)], problem, "", "")
