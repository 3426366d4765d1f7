"""Programs that want to be paid for nothing, or to do harm. None is paid, none hangs or disturbs the judge."""

import time

import pytest
from judged import ANSWER, DOUBLE, DOUBLED, SQUARE, function, stdio

from lib.judge.conformance.suite import load_suite

SUITE = load_suite(("cheats", "hostile"))


def programs(group: str) -> dict[str, str]:
    """The programs of a group of the conformance suite, by name."""
    return {item.name: item.text for item in SUITE if item.group == group}


EARLY_EXITS, HARMFUL, LYING, SPYING = map(
    programs, ("leaves before the checks", "does harm", "lies about a value", "spies or forges")
)
OTHERS = [item for item in SUITE if item.text not in {**EARLY_EXITS, **HARMFUL, **LYING, **SPYING}.values()]


@pytest.mark.parametrize("item", OTHERS, ids=lambda item: item.name)
def test_no_cheat_of_another_group_is_paid(judge, item):
    verdict = judge.judge(item.text, item.problem)
    assert verdict.passed == 0
    assert verdict.error_type in ("runtime_error", "wrong_answer", "timeout", "syntax_error")


@pytest.mark.parametrize("name", EARLY_EXITS)
def test_leaving_before_the_checks_is_not_paid(judge, name):
    verdict = judge.judge(EARLY_EXITS[name], function(*(test.input for test in SQUARE.tests), time_limit=0.5))
    assert verdict.passed == 0
    assert verdict.error_type in ("runtime_error", "wrong_answer", "timeout", "syntax_error")


@pytest.mark.parametrize("name", LYING)
def test_no_lie_of_a_function_is_paid_or_disturbs_an_honest_one(judge, name):
    start = time.monotonic()
    asserts = [test.input for test in SQUARE.tests]
    check = "def check(g):\n" + "".join(f"    {line.replace('f(', 'g(')}\n" for line in asserts) + "check(f)"
    honest = f"def f(x): return x * x  # {name}"
    one_by_one, together, neighbour = judge.judge_many(
        [
            (LYING[name], function(*asserts, time_limit=0.4)),
            (LYING[name], function(check, time_limit=0.4)),
            (honest, SQUARE),
        ]
    )
    for verdict in (one_by_one, together):
        assert not verdict.accepted
        assert verdict.passed <= (name == "state between tests")
        assert verdict.error_type in ("wrong_answer", "runtime_error", "timeout")
    assert neighbour.accepted
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("name", SPYING)
def test_spying_and_forging_earn_nothing(judge, name):
    for problem in (ANSWER, stdio(*[("", "42\n")] * 3)):
        verdict = judge.judge(SPYING[name], problem)
        assert verdict.passed == 0
        assert verdict.error_type in ("wrong_answer", "runtime_error", "timeout", "syntax_error")


def test_the_corpus_is_large():
    assert min(map(len, (EARLY_EXITS, HARMFUL, SPYING, OTHERS))) >= 18
    assert len(SUITE) >= 140


@pytest.mark.parametrize("name", HARMFUL)
def test_harm_ends_in_a_verdict_and_disturbs_nobody(judge, name):
    start = time.monotonic()
    problem = stdio(("", "42\n"), time_limit=0.3)
    honest = [(f"{DOUBLED}# {name} {n}", DOUBLE) for n in range(6)]
    harmed, *others = judge.judge_many([(HARMFUL[name], problem), *honest])
    assert harmed.error_type in ("runtime_error", "timeout", "syntax_error", "wrong_answer")
    assert harmed.passed == 0
    assert all(verdict.accepted for verdict in others)
    assert time.monotonic() - start < 60
    assert judge.judge("print(42)  # " + name, ANSWER).accepted


@pytest.mark.parametrize("name", HARMFUL)
def test_harm_done_in_the_quick_pass_is_no_different(judge, name):
    verdict = judge.judge(HARMFUL[name], stdio(*[("", "42\n")] * 3, time_limit=0.2))
    assert verdict.passed == 0
    assert verdict.error_type != "api_error"


def test_expected_outputs_are_nowhere_in_the_sandbox(judge):
    """The program looks through every object and every frame that it can reach."""
    program = """
import gc, sys
wanted = ''.join(map(chr, [120, 57, 102, 113, 55, 122, 107, 50]))
gc.unfreeze()
places = [o for o in gc.get_objects() if isinstance(o, (list, tuple, dict))]
frame = sys._getframe().f_back
while frame:
    places += [frame.f_locals, frame.f_globals]
    frame = frame.f_back
texts = {v for p in places for v in (p.values() if isinstance(p, dict) else p) if type(v) in (str, bytes)} - {wanted}
print(any(wanted in t if type(t) is str else wanted.encode() in t for t in texts), len(texts) > 1000)
"""
    verdict = judge.judge(program, stdio(("", "x9fq7zk2"), time_limit=5.0))
    assert verdict.tests[0].got == "False True\n"


def test_the_next_tests_input_gives_no_right_to_its_answer(judge):
    """In the quick pass the files of later tests are open; an answer written there in advance earns nothing twice."""
    program = """
import os
n = int(input())
for d in range(5, 200):
    try: os.write(d, b'%d\\n' % (2 * n))
    except OSError: pass
print(2 * n)
"""
    assert judge.judge(program, DOUBLE).passed <= 5
    assert judge.judge(program.replace("print(2 * n)", "print(0)"), DOUBLE).passed == 0


def test_an_answer_is_the_whole_output(judge):
    assert judge.judge("for n in range(100): print(n)", ANSWER).error_type == "wrong_answer"
    assert judge.judge("print('42', end='\\x00')", ANSWER).error_type == "wrong_answer"
