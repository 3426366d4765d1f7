"""`python -m lib.judge.conformance --grader package.module:function` runs the suite against anyone's grader.

    grader(answer_or_program: str, problem: Problem) -> bool | float | None

A score of 1 or more is full pay. An exception, or None, is an error. `problem` is a `lib.judge.Problem`: `kind`
("stdio" or "function"), `tests`, `prompt`, `entry_point`, `time_limit`. If `problem.tags` has "answer", the text is a
whole answer of a model, from which the grader takes the program. A grader that does not support everything says so in
an attribute `kinds`, of "stdio", "function" and "answer", or raises NotImplementedError. Example:

    def grader(text, problem):
        if problem.kind != "stdio":
            raise NotImplementedError
        return all(my_run(text, test.input) == test.output for test in problem.tests)

The grader runs in namespaces of its own (`containment`), under `--python`. Exit status: 0 if at least `--bar` of the
items that it supports went right, else 1; 2 if it could not run.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from .runner import GraderError, measure_speed, run_recorded, run_suite, summarize
from .suite import KINDS, load_suite


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grader", default=f"{__package__}.graders:ours", help="module:function; default: this judge")
    parser.add_argument("--python", default=sys.executable, help="the Python of the environment that has the grader")
    parser.add_argument("--bar", type=float, default=1.0, help="share of items that must go right, default 1")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--jobs", type=int, default=2, help="items at a time")
    parser.add_argument("--record", type=Path, help="a JSON file with results: only items without one are run")
    parser.add_argument("--no-speed", action="store_true")
    options = parser.parse_args(arguments)
    try:
        items = load_suite(tuple(options.kinds))
        if options.record:
            outcomes = run_recorded(options.record, options.grader, items, options.python, options.jobs)
        else:
            outcomes = run_suite(options.grader, items, options.python, options.jobs)
        for name, count in summarize(outcomes).items():
            print(f"{name:<27}{count}")
        for cores in () if options.no_speed else (1, 2):
            speed = measure_speed(options.grader, options.python, cores)
            print(f"{f'programs/s on {cores} core' + 's' * (cores > 1):<27}{speed:.1f}")
    except GraderError as error:
        print(f"the grader did not run: {error}", file=sys.stderr)
        return 2
    wrong = [outcome for outcome in outcomes if not outcome.good and outcome.result != "unsupported"]
    for outcome in wrong:
        print(f"wrong: {outcome.item.kind}, {outcome.item.group}: {outcome.item.name}: {outcome.result}")
    print(", ".join(f"{result} {count}" for result, count in Counter(o.result for o in outcomes).items()))
    supported = sum(outcome.result != "unsupported" for outcome in outcomes)
    share = 1 - len(wrong) / supported if supported else 0.0
    print(f"{share:.1%} of {supported} supported items went right; the bar is {options.bar:.1%}")
    return int(share < options.bar)


if __name__ == "__main__":
    sys.exit(main())
