"""Odd rows are left out and counted, or refused by file and row, when they are read: they end no run later."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_problems import CONTEST, HUMANEVAL, MBPP, ROWS, load_problems

from lib.judge.host.compare import comparison
from lib.judge.host.prepared import check_problem, encoded
from lib.policy.prompts import messages
from lib.problems import Problem, manifest

SANITIZED = {"task_id": 12, "prompt": "Double.", "code": "def f(x): return 2 * x", "test_list": ["assert f(2) == 4"]}
SANITIZED |= {"test_imports": ["import math"]}
SETS = {"codecontests": CONTEST, "humaneval": HUMANEVAL, "mbpp": MBPP, "mbpp_sanitized": SANITIZED}
NOT_TEXT = "an id, statement, input, output or program that is not text"
LIMIT = "a time or memory limit that is 0 or out of range"
NONE = {"input": [], "output": []}
ODD = (
    None,
    0,
    -1,
    10**6,
    2.5,
    float("nan"),
    True,
    "",
    " \n",
    "x",
    "def (",
    "\ud800",
    [],
    {},
    [None],
    [3],
    [[]],
    ["1", "1"],
)


def read(tmp_path, name: str, *rows):
    """The problems of a file with these rows."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_problems(name, "test", file)


def with_tests(inputs: list, outputs: list) -> dict:
    return {"public_tests": {"input": inputs, "output": outputs}, "private_tests": NONE, "generated_tests": NONE}


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("codecontests", {"description": None}, NOT_TEXT),
        ("codecontests", {"description": " \n"}, "no statement"),
        ("codecontests", {"description": "\ud800"}, "text that is not valid Unicode"),
        ("codecontests", {"name": None}, NOT_TEXT),
        ("codecontests", {"name": 7}, NOT_TEXT),
        ("codecontests", {"name": " "}, "no id"),
        ("codecontests", with_tests(["1"], [None]), NOT_TEXT),
        ("codecontests", with_tests(["1"], [2]), NOT_TEXT),
        ("codecontests", with_tests([1], ["2"]), NOT_TEXT),
        ("codecontests", with_tests([], []), "no tests"),
        ("codecontests", with_tests(["1", "2"], ["", "\n"]), "no expected output"),
        (
            "codecontests",
            {"time_limit": {"seconds": 0, "nanos": 0}},
            LIMIT,
        ),
        (
            "codecontests",
            {"time_limit": {"seconds": 9999, "nanos": 0}},
            LIMIT,
        ),
        ("codecontests", {"memory_limit_bytes": 1000}, LIMIT),
        ("codecontests", {"memory_limit_bytes": -1}, LIMIT),
        (
            "codecontests",
            {"solutions": {"language": [3], "solution": [None]}},
            NOT_TEXT,
        ),
        ("humaneval", {"task_id": 3}, NOT_TEXT),
        ("humaneval", {"entry_point": "other"}, "a prompt without the function that is tested"),
        ("humaneval", {"entry_point": None}, "a prompt without the function that is tested"),
        ("humaneval", {"test": ""}, "a test without a function check"),
        ("humaneval", {"test": "def check(candidate):\n    pass\n"}, "a test without an assert"),
        ("mbpp", {"test_list": []}, "no tests"),
        ("mbpp", {"test_list": ["assert f(1) == 2", ""]}, "a test without an assert"),
        ("mbpp", {"test_list": ["f(1)"]}, "a test without an assert"),
        ("mbpp", {"code": None}, NOT_TEXT),
    ],
)
def test_an_odd_row_is_left_out_and_counted_by_its_reason(tmp_path, name, change, reason):
    problems = None
    if reason is None:
        with pytest.raises(
            ValueError, match=r"row 1 of .*rows\.jsonl, split test, violates the schema of mbpp: TypeError"
        ):
            read(tmp_path, name, SETS[name] | change)
        return
    problems = read(tmp_path, name, SETS[name] | change, SETS[name])
    assert (len(problems), problems.dropped) == (1, {reason: 1})


@pytest.mark.parametrize("test", ["assert f(1) ==", "assert f(1) == 2\n  assert f(2) == 4", "assert f(1) === 2"])
def test_an_assert_that_is_not_python_is_left_out_when_the_set_is_read(tmp_path, test):
    problems = read(tmp_path, "mbpp", MBPP | {"test_list": [test]}, MBPP)
    [reason] = problems.dropped
    assert len(problems) == 1
    assert reason.startswith("a test by which nothing can be judged: it is not Python")


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("codecontests", CONTEST | with_tests(["1", "2"], ["3"]), "ValueError: zip"),
        ("codecontests", CONTEST | with_tests("12", "34"), "TypeError: input is not a list"),
        ("codecontests", CONTEST | {"public_tests": None}, "TypeError"),
        ("codecontests", CONTEST | {"time_limit": 2}, "TypeError"),
        ("codecontests", {key: CONTEST[key] for key in CONTEST if key != "private_tests"}, "no column 'private_tests'"),
        ("codecontests", [CONTEST], "TypeError"),
        ("codecontests", None, "TypeError"),
        ("humaneval", HUMANEVAL | {"prompt": None}, "TypeError"),
        ("humaneval", HUMANEVAL | {"test": None}, "TypeError"),
        ("humaneval", HUMANEVAL | {"canonical_solution": None}, "TypeError"),
        ("humaneval", HUMANEVAL | {"test": "def check(candidate"}, "SyntaxError"),
        ("mbpp", MBPP | {"task_id": "11"}, "TypeError: task_id '11' is not a whole number"),
        ("mbpp", MBPP | {"text": None}, "TypeError"),
        ("mbpp", MBPP | {"test_list": "assert f(1) == 2"}, "TypeError: test_list is not a list"),
        ("mbpp", MBPP | {"test_list": None}, "TypeError: test_list is not a list"),
    ],
)
def test_a_row_of_another_schema_is_refused_by_file_and_row(tmp_path, name, row, message):
    with pytest.raises(ValueError, match=r"row 2 of .*rows\.jsonl, split test, violates the schema of") as refused:
        read(tmp_path, name, SETS[name], row)
    assert message in str(refused.value)


def test_what_is_not_known_about_a_problem_is_no_reason_to_leave_it_out(tmp_path):
    unknown = {"difficulty": -1, "cf_tags": None, "time_limit": None, "memory_limit_bytes": None, "solutions": None}
    [problem] = read(tmp_path, "codecontests", CONTEST | unknown)
    assert (problem.difficulty, problem.tags, problem.time_limit, problem.memory_limit) == ("", (), 2.0, 256)


def places(value, path=()):
    """The paths of all values in a row."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def changed(row: dict, path: tuple, value):
    if not path:
        return value
    row = copy.deepcopy(row)
    parent = row
    for key in path[:-1]:
        parent = parent[key]
    if value is ...:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return row


def usable(problem: Problem) -> bool:
    """Does with a problem what runs do with it."""
    check_problem(problem)
    json.dumps(manifest.entry(problem, "train"))
    "".join(message["content"] for message in messages(problem)).encode()
    texts = [text for test in problem.tests for text in (test.input, test.output)]
    for text in (*texts, *problem.solutions, *problem.incorrect_solutions):
        encoded(text)
    if problem.kind == "stdio":
        assert all(comparison(problem)(encoded(test.output), encoded(test.output)) for test in problem.tests)
    return bool(problem.id.strip() and problem.prompt.strip() and problem.tests)


@pytest.mark.parametrize("name", SETS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_row_holds_it_is_left_out_refused_by_row_or_usable(name, tmp_path, data):
    path = data.draw(st.sampled_from([*places(SETS[name])][1:]))
    values = st.sampled_from([..., *ODD]) | st.recursive(st.none() | st.integers() | st.text(), st.lists)
    row = changed(SETS[name], path, data.draw(values))
    try:
        problems = read(tmp_path, name, row)
    except ValueError as refused:
        if "row 1 of" not in str(refused):
            raise
        return
    assert len(problems) + problems.dropped.total() == 1
    assert all(map(usable, problems))


@pytest.mark.skipif(not (ROWS.parent / "cases").is_dir(), reason="no ../shared/cases beside the project")
def test_rows_of_public_reports(tmp_path):
    cases = (ROWS.parent / "cases" / "public_reports.jsonl").read_text().splitlines()
    for case in (json.loads(line) for line in cases):
        if case["kind"] == "row":
            problems = read(tmp_path, case["set"], case["row"])
            assert (problems, problems.dropped.total()) == ([], 1), case["name"]
