from dataclasses import replace

import pytest
from judged import stdio

from lib.judge.host.compare import CHECKERS, same_tokens


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
    ("checker", "got", "expected", "same"),
    [
        ("exact", b"1 2\n", b"1 2", True),
        ("exact", b"1  2\n", b"1 2\n", False),
        ("exact", b"0.50", b"0.5", False),
        ("exact", b"\n1", b"1", False),
    ],
)
def test_checkers(checker, got, expected, same):
    assert CHECKERS[checker](got, expected) is same


def test_a_problem_chooses_its_checker(judge):
    for checker, accepted in (("tokens", True), ("exact", False)):
        problem = replace(stdio(("", "1 2\n")), checker=checker)
        assert judge.judge("print(1)\nprint(2)", problem).accepted is accepted
