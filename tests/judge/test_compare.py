from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import stdio

from lib.judge.host.compare import CHECKERS, Rule, comparison, same_tokens
from lib.problems import Problem


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (b"1 2 3\n", b"1 2 3"),
        (b"1\n2\n3", b"1 2 3\n"),
        (b"  YES \r\n", b"YES\n"),
        (b"", b"\n"),
        (b"0.3333333", b"0.33333333333"),
        (b"1", b"1.0"),
        (b"1000000.1", b"1000000.2"),
        (b"2.5e-3", b"0.0025"),
        (b"-0.0", b"0.0"),
        (b"\xff\xfe", b"\xff\xfe"),
    ],
)
def test_outputs_that_say_the_same(got, expected):
    assert same_tokens(got, expected)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (b"1 2", b"1 2 3"),  # only the beginning
        (b"1 2 3 4", b"1 2 3"),  # more than was asked for
        (b"1 2 3", b"3 2 1"),
        (b"yes", b"YES"),
        (b"100000000000000000", b"100000000000000001"),  # integers are exact
        (b"3.0", b"3"),
        (b"03", b"3"),
        (b"nan", b"0.5"),
        (b"inf", b"1e999"),
        (b"1e999", b"0.5"),
        (b"1_0.5", b"10.5"),
        (b"0x1p-1", b"0.5"),
        (b"0.5001", b"0.5"),
        (b"\xd9\xa1.\xd9\xa5", b"1.5"),  # digits of another script
        (b"", b"0"),
        (b"9" * 100_000 + b".0", b"1.0"),
    ],
)
def test_outputs_that_do_not(got, expected):
    assert not same_tokens(got, expected)


@pytest.mark.parametrize(
    ("got", "expected", "same"),
    [
        (b"1 2\n", b"1 2", True),
        (b"1  2\n", b"1 2\n", False),
        (b"0.50", b"0.5", False),
        (b"\n1", b"1", False),
    ],
)
def test_exact_compares_bytes(got, expected, same):
    assert Rule(exact=True)(got, expected) is same


def test_a_problem_chooses_its_checker(judge):
    assert CHECKERS == ("auto", "tokens", "exact")
    for checker, accepted in (("tokens", True), ("exact", False)):
        problem = replace(stdio(("", "1 2\n")), checker=checker)
        assert judge.judge("print(1)\nprint(2)", problem).accepted is accepted


def problem(prompt: str, *outputs: str) -> Problem:
    return replace(stdio(*(("", output) for output in outputs)), prompt=prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "You can print each letter in any case (upper or lower).",
        "You may print every letter in any case you want (so, for example, the strings yEs, Yes and YES are all good).",
        "You can print each letter in any register (upper or lower).",
        "For each test case, first print either YES or NO (in any case), whether there is a tree.",
        "The output is case insensitive.",
        "Print YES (case-insensitive), if the farm is ideal.",
        "Answers are compared case-insensitively.",
        "The checker is not case-sensitive.",
        "The case of letters in the answer does not matter.",
        "Case doesn't matter.",
        "The letters' case is ignored.",
        "The checker ignores case.",
        "Your answer is accepted regardless of case.",
        "It does not matter whether you use upper or lower case.",
        "Print the answer in lowercase or uppercase letters.",
        "Each letter of the answer\ncan be printed in\nany case.",
        "You can print the words in any case (either lowercase, uppercase or mixed).",
    ],
)
def test_yes_and_no_match_in_any_case_where_the_statement_allows_it(prompt):
    rule = comparison(problem(prompt, "YES\nNO\n3\n"))
    assert rule(b"Yes no 3", b"YES\nNO\n3\n")
    assert not rule(b"no no 3", b"YES\nNO\n3\n")


@pytest.mark.parametrize(
    "prompt",
    [
        "Print YES or NO.",
        "In any case, print YES or NO.",
        "Print YES or NO. The answer is case-sensitive.",
        "The string consists of uppercase and lowercase letters. Print YES if it is a palindrome.",
        "In case of a tie the order does not matter.",
        "The machine has only one register, which allows to put in there one variable.",
    ],
)
def test_other_statements_ask_for_the_very_letters(prompt):
    assert comparison(problem(prompt, "YES\n", "NO\n")) == Rule()


def test_any_case_holds_for_answers_and_not_for_strings_that_the_program_makes():
    any_case = "Print Alice or Bob (in any case), then the string.\n\nExamples\n\nOutput\n\nAlice\nabba\n"
    rule = comparison(problem(any_case, "Alice\nabba\n", "Bob\nab\n"))
    assert rule(b"ALICE\nabba", b"Alice\nabba")
    assert not rule(b"Alice\nABBA", b"Alice\nabba")
    assert comparison(problem("Who wins? Letters in any case.", "Left\n", "Right\n"))(b"left", b"Left")
    two_spellings = comparison(problem("Letters can be printed in any case.", "ab\n", "AB\n"))
    assert not two_spellings(b"ab", b"AB"), "here the case is a part of the answer"


def test_where_other_answers_are_decimals_a_whole_number_is_real_too():
    rule = comparison(problem("How long?", "20\n", "0.5\n"))
    assert rule(b"20.0", b"20")
    assert rule(b"19.9999999999", b"20")
    assert not rule(b"20.1", b"20")
    assert not rule(b"100000000000000000", b"100000000000000001"), "numbers without a decimal point are exact"
    whole = comparison(problem("How many?", "20\n", "3\n"))
    assert not whole(b"20.0", b"20")
    assert not whole(b"100000000000000000", b"100000000000000001")


@pytest.mark.parametrize(
    ("prompt", "tolerance"),
    [
        ("Your answer is correct if its absolute or relative error does not exceed 10^{-4}.", 1e-4),
        ("Relative or absolute error should not be greater than 10 - 3.", 1e-3),
        ("The absolute difference between your solution and the main solution shouldn't exceed 10^-5;", 1e-5),
        ("Print it with precision 1e-2.", 1e-2),
        ("An error of up to 0.001 is accepted.", 1e-3),
        ("The relative error must not exceed 10⁻⁴.", 1e-4),
        ("The accuracy is $10^{-5}$ or 10^{-3}.", 1e-3),
        ("Print the length with at least 6 digits after the decimal point.", 1e-6),
        ("The two numbers differ. 1 - 10 - 4 is a clue, 0.001 another.", 1e-6),
    ],
)
def test_the_tolerance_is_that_of_the_statement(prompt, tolerance):
    rule = comparison(problem(prompt, "0.5\n", "2\n"))
    assert rule(f"{0.5 + 0.9 * tolerance}".encode(), b"0.5")
    assert rule(f"{2 + tolerance}".encode(), b"2")
    assert not rule(f"{0.5 + 1.2 * tolerance}".encode(), b"0.5")


def test_a_finer_tolerance_holds_as_far_as_outputs_are_written():
    prompt = "The error must not exceed 10^-9."
    assert not comparison(problem(prompt, "0.3333333333\n"))(b"0.33333334", b"0.3333333333")
    assert comparison(problem(prompt, "0.333333\n"))(b"0.3333333333", b"0.333333"), "nobody knows the seventh digit"


def test_the_statement_decides_in_the_judge_and_in_its_memory(judge):
    """Two problems that differ only in their statements have verdicts of their own."""
    strict = problem("Yes or no?", "YES\n")
    assert [
        judge.judge("print('Yes')", one).accepted for one in (strict, replace(strict, prompt="Print it in any case."))
    ] == [
        False,
        True,
    ]


numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(-1e9, 1e9).map(repr),
    st.sampled_from(["20", "20.0", "1e5", "-0.0"]),
)
words = st.sampled_from(["yes", "YES", "No", "abc", "", "nan", "1_0", "."])
outputs = st.lists(numbers | words, max_size=4).map(lambda tokens: " ".join(tokens).encode())
rules = st.builds(
    Rule,
    words=st.sampled_from([(), (b"no", b"yes")]),
    real=st.booleans(),
    tolerance=st.sampled_from([1e-9, 1e-6, 1e-2]),
)


@given(rules, outputs)
def test_an_equal_output_is_right_under_every_rule(rule, output):
    assert rule(output, output)
    assert rule(b"\n" + output.replace(b" ", b"\n\n") + b"\n", output), "white space does not count"


@given(rules, outputs, outputs)
def test_what_a_statement_allows_only_adds_to_what_is_right(rule, output, expected):
    if Rule(tolerance=rule.tolerance)(output, expected):
        assert rule(output, expected)
        assert replace(rule, tolerance=1e-1)(output, expected)


@given(rules, st.integers(), st.integers())
def test_integers_are_exact_under_every_rule(rule, output, expected):
    assert rule(b"%d" % output, b"%d" % expected) is (output == expected)


@given(st.sampled_from([(), (b"no", b"yes")]), outputs, outputs)
def test_only_the_words_of_the_rule_may_change_their_case(known, output, expected):
    rule = Rule(words=known)
    lowered = tuple(
        b" ".join(t.lower() if t.lower() in known else t for t in text.split()) for text in (output, expected)
    )
    assert rule(output, expected) == same_tokens(*lowered)


@given(st.text(max_size=300), st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_every_statement_gives_a_rule_that_accepts_the_expected_outputs(prompt, expected):
    rule = comparison(problem(prompt, *expected))
    assert all(rule(text.encode(), text.encode()) for text in expected)
    assert rule == comparison(problem(prompt, *expected)), "the same rule each time: verdicts are cached by it"
