"""Selection among samples: exact values against brute force, and proof that nothing private is looked at."""

from dataclasses import replace
from itertools import permutations
from statistics import fmean

import pytest
from samples import some_samples

from lib.evaluation.best_of_n import (
    ORACLE,
    RULES,
    Sample,
    choose,
    judge_public,
    make_sample,
    p_accepted,
)
from lib.judge import Judge
from lib.judge.verdict import TestResult, Verdict
from lib.problems import Problem, Test
from lib.problems.public import only_public, without_expected
from lib.statistics import pass_at_k

POISON = "424242424242"  # in every test that is not public, and in the solutions
DOUBLE = Problem(
    id="double",
    dataset="tiny_contests",
    split="test",
    kind="stdio",
    prompt="Read n. Print n times 2.",
    tests=(
        Test("3\n", "6\n", "public"),
        Test("0\n", "0\n", "public"),
        Test(f"{POISON}\n", f"{2 * int(POISON)}\n", "generated"),
        Test(POISON, f"{2 * int(POISON)}\n", "private"),
    ),
    solutions=(f"print({POISON})",),
    incorrect_solutions=(f"print({POISON})",),
)
TWICE = replace(
    DOUBLE,
    kind="function",
    entry_point="twice",
    tests=(Test("assert twice([3]) == [6]", visibility="public"), Test(f"assert twice([{POISON}]) == []")),
)


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(12))
def test_a_chance_is_the_mean_over_every_way_to_draw(rule, seed):
    samples, accepted = some_samples(seed)
    for n, chance in enumerate(p_accepted(rule, samples, accepted), start=1):
        ways = permutations(range(len(samples)), n)
        brute = fmean(accepted[way[choose(rule, [samples[i] for i in way])]] for way in ways)
        assert chance == pytest.approx(brute)


def test_the_oracle_is_pass_at_k_and_no_rule_beats_it():
    for seed in range(30):
        samples, accepted = some_samples(seed, n=7)
        oracle = p_accepted(ORACLE, samples, accepted)
        assert oracle == pytest.approx([pass_at_k(7, sum(accepted), k) for k in range(1, 8)])
        for rule in RULES:
            found = p_accepted(rule, samples, accepted)
            assert found[0] == pytest.approx(fmean(accepted)), "one sample leaves nothing to choose"
            assert all(one <= best + 1e-12 for one, best in zip(found, oracle, strict=True))


def test_the_oracle_can_not_choose():
    with pytest.raises(ValueError, match="unknown rule 'oracle"):
        choose(ORACLE, some_samples(0)[0])


def test_the_majority_can_be_wrong_and_a_program_that_crashes_is_taken_last():
    samples = [Sample(1, output=None), Sample(1, output=("7",)), Sample(1, output=("6",)), Sample(1, output=("7",))]
    assert choose("majority", samples) == 1
    assert choose("majority", samples[:1]) == 0
    assert choose("majority", [samples[0], samples[2]]) == 1
    assert p_accepted("majority", samples, [False, False, True, False])[-1] == 0.0
    assert p_accepted("public tests", samples, [False, False, True, False]) == [0.25] * 4


@pytest.mark.parametrize("problem", [DOUBLE, TWICE], ids=["stdio", "function"])
def test_what_a_choice_looks_at_holds_nothing_of_tests_that_are_not_public(problem):
    assert POISON in repr(problem)
    for shown in (only_public(problem), without_expected(problem)):
        assert POISON not in repr(shown)
        assert {test.visibility for test in shown.tests} == {"public"}
    assert "6" not in repr(without_expected(problem).tests)


@pytest.mark.parametrize("problem", [DOUBLE, TWICE], ids=["stdio", "function"])
def test_other_private_tests_lead_to_the_same_choice(judge, problem):
    """The private tests decide what is accepted; turning them round must move no choice."""
    programs = {
        "stdio": ["print(int(input()) * 2)", "print(int(input()) + 3)", "1 / 0", "print(2 * int(input()))"],
        "function": [f"def twice(a):\n    return {made}" for made in ("[2 * x for x in a]", "a", "1 / 0", "[6]")],
    }[problem.kind]
    turned = replace(
        problem, tests=tuple(replace(t, input="0") if t.visibility != "public" else t for t in problem.tests)
    )
    seen = []
    for one in (problem, turned):
        looked = [
            [judge.judge(program, view) for view in (only_public(one), without_expected(one))] for program in programs
        ]
        seen.append([replace(make_sample(9, *verdicts), public_s=0, outputs_s=0) for verdicts in looked])
    assert seen[0] == seen[1]
    assert [one.passed for one in seen[0]] == ([2, 1, 0, 2] if problem.kind == "stdio" else [1, 0, 0, 1])
    outputs = [one.output for one in seen[0]]
    assert outputs[0] == outputs[3] == (("6", "0") if problem.kind == "stdio" else ("[6]",))
    assert outputs[1] == (("6", "3") if problem.kind == "stdio" else ("[3]",))
    assert outputs[2] is None


def test_without_public_tests_there_is_nothing_to_look_at():
    hidden = replace(DOUBLE, tests=DOUBLE.tests[2:])
    assert only_public(hidden) is None
    assert without_expected(hidden) is None
    samples = [make_sample(tokens) for tokens in (1, 2, 3)]
    assert [choose(rule, samples) for rule in RULES] == [0, 0]
    for rule in RULES:
        assert p_accepted(rule, samples, [True, False, False]) == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    "test", ["assert f(1) < 3", "f(1)", "assert 1 < f(1) == 3", "assert f(1) == 2\nassert f(2) == 3"]
)
def test_a_public_test_of_another_form_is_not_compared_by_outputs(test):
    assert without_expected(replace(TWICE, tests=(Test(test, visibility="public"),))) is None


def test_a_failure_of_the_judge_is_never_a_sample():
    failed = Verdict(False, 0.0, "api_error", 0, 2, 0.0)
    with pytest.raises(ValueError, match="the judge failed"):
        make_sample(5, failed)


def test_outputs_differ_by_their_words_only():
    given = [
        Verdict(False, 0.0, "wrong_answer", 0, 1, 0.1, (TestResult("wrong_answer", got=got),)) for got in ("6 \n", "6")
    ]
    assert len({make_sample(1, outputs=one).output for one in given}) == 1
    stopped = replace(given[0], error_type="timeout", tests=())
    assert make_sample(1, outputs=stopped).output is None


class Looked:
    """A judge that keeps what it was asked, and passes every program that says so."""

    def __init__(self):
        self.asked = []

    def judge_many(self, pairs):
        self.asked += pairs
        return [
            Verdict(text == "right", 0.0, "wrong_answer", 2 * (text == "right"), 2, 0.1, (TestResult("success"),) * 2)
            for text, _ in pairs
        ]


def test_looking_shows_the_judge_public_tests_alone_and_leaves_out_problems_without():
    judge, hidden = Looked(), replace(DOUBLE, tests=DOUBLE.tests[2:])
    programs = [[("right", 4), ("wrong", 5)], [("right", 6), ("wrong", 7)]]
    first, second = judge_public(judge, [hidden, DOUBLE], programs)
    assert len(judge.asked) == 4
    assert POISON not in repr(judge.asked)
    assert [(one.tokens, one.passed, one.output) for one in first] == [(4, 0, None), (5, 0, None)]
    assert [(one.tokens, one.passed, one.output) for one in second] == [(6, 2, ("", "")), (7, 0, ("", ""))]
