import sysconfig

import pytest
from judged import ANSWER, DOUBLE, SQUARE, stdio

from lib.judge import ERROR_TYPES, TestResult
from lib.judge.host.scoring import failed_judge, verdict, with_source_lines


def results(*error_types: str) -> list[tuple[int, TestResult, str]]:
    return [(test, TestResult(error_type, judge_time=0.5), "") for test, error_type in enumerate(error_types)]


@pytest.mark.parametrize(
    ("error_types", "overall"),
    [
        (["success"] * 5, "success"),
        (["success", "wrong_answer"] + ["success"] * 3, "wrong_answer"),
        (["wrong_answer", "runtime_error", "timeout"], "runtime_error"),
        (["wrong_answer", "timeout"], "timeout"),
        (["syntax_error"], "syntax_error"),
    ],
)
def test_the_error_type_is_that_of_the_first_test_that_did_not_run_to_its_end(error_types, overall):
    made = verdict(results(*error_types), DOUBLE, "", 5)
    assert made.error_type == overall
    assert made.error_type in ERROR_TYPES


def test_tests_that_were_not_run_count_as_not_passed():
    made = verdict(results("success", "timeout"), DOUBLE, "", 5)
    assert (made.passed, made.total, made.pass_ratio, made.accepted) == (1, 5, 0.2, False)
    assert made.judge_time == 1.0


def test_a_failed_judge_says_nothing_about_the_program():
    made = failed_judge(DOUBLE, "no memory")
    assert (made.error_type, made.accepted, made.tests) == ("api_error", False, ())
    assert made.feedback == "The judge failed: no memory"


def test_feedback_shows_a_public_test_in_full(judge):
    feedback = judge.judge("print(2 * int(input()) + 1)", DOUBLE).feedback
    assert feedback == "Test 1 ended in: wrong answer\nInput:\n1\nExpected output:\n2\nOutput:\n3"


def test_feedback_shows_the_traceback_with_the_programs_lines(judge):
    program = "def half(x):\n    return x // 0\nprint(half(int(input())))"
    feedback = judge.judge(program, DOUBLE).feedback
    assert feedback.endswith(
        'Traceback (most recent call last):\n  File "program.py", line 3, in <module>\n    print(half(int(input())))\n'
        '  File "program.py", line 2, in half\n    return x // 0\nZeroDivisionError: integer division or modulo by zero'
    )


def test_feedback_of_a_function_problem_names_the_test_and_what_the_call_returned(judge):
    assert judge.judge("def f(x): return 3 * x", SQUARE).feedback == (
        "Test 2 ended in: wrong answer\nTest:\nassert f(-2) == 4\nThe last call returned: -6"
    )


def test_feedback_of_a_function_problem_shows_the_programs_traceback(judge):
    assert judge.judge("def f(x):\n    return x // 0", SQUARE).feedback == (
        "Test 1 ended in: runtime error\nTest:\nassert f(3) == 9\nTraceback (most recent call last):\n"
        '  File "program.py", line 2, in f\n    return x // 0\nZeroDivisionError: integer division or modulo by zero'
    )


def test_feedback_gives_nothing_of_a_hidden_test_away(judge):
    hidden = stdio(("secret 17\n", "31\n"), visibility="private")
    for program in ("print(input())", "int(input())", "raise SystemExit(input())", "assert 0, input()"):
        feedback = judge.judge(program, hidden).feedback
        assert "17" not in feedback
        assert "31" not in feedback


def test_feedback_names_the_limit(judge):
    assert judge.judge("x = [0] * 10**9", ANSWER).feedback.startswith("Test 1 ended in: runtime error (memory limit)")


def test_tracebacks_carry_no_path_of_this_machine(judge):
    feedback = judge.judge("import json\njson.loads('{')", ANSWER).feedback
    assert 'File "python/json/decoder.py"' in feedback
    assert sysconfig.get_path("stdlib") not in feedback


def test_a_line_number_beyond_the_program_is_left_alone():
    text = '  File "program.py", line 99, in f'
    assert with_source_lines(text, "x = 1") == text


def test_frames_of_the_judge_are_left_out_of_a_traceback():
    frames = ['  File "/x/sandbox/wire.py", line 3, in ask', "    value = self.serve()", "            ^^^^^^^^^^^^"]
    kept = [
        "Traceback (most recent call last):",
        '  File "program.py", line 1, in <module>',
        "    x = 1",
        "KeyError: 1",
    ]
    mixed = [kept[0], *frames, kept[1], *frames, kept[3], "", kept[0], *frames, '  File "driver.py", line 2', kept[3]]
    wanted = [*kept, "", kept[0], kept[3]]
    assert with_source_lines("\n".join(mixed), "x = 1").splitlines() == wanted
