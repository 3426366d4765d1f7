"""Preference pairs: which samples are chosen and rejected, which problems give none, what the report counts."""

import subprocess
import sys

import pytest
from samples import sample

from lib.judge import Judge
from lib.judge.answers import extract
from lib.policy.prompts import answer
from lib.problems import Problem, Test
from lib.rewards import Sample
from lib.training.pairs import MARGIN, build_pairs, hard_negatives


def the_pair(*group: Sample, **options):
    [pair], _ = build_pairs([group], **options)
    return pair


def the_reason(*group: Sample) -> str:
    pairs, without = build_pairs([group])
    assert pairs == []
    [reason] = [name for name, count in without.items() if count]
    return reason


def test_the_best_sample_is_chosen_and_the_worst_rejected():
    good, middle, bad = sample(0.9), sample(0.5), sample(0.1)
    pair = the_pair(middle, bad, good, middle)
    assert (pair.chosen, pair.rejected) == (good, bad)
    assert pair.delta == pytest.approx(0.8)


def test_of_equally_good_samples_the_shorter_is_chosen_then_the_faster_then_the_first():
    bad = sample(0)
    long, short = sample(1, tokens=30, time=0.01), sample(1, tokens=29, time=0.9)
    assert the_pair(long, bad, short).chosen is short
    slow, fast, as_fast = sample(1, time=0.2), sample(1, time=0.1), sample(1, time=0.11)
    assert the_pair(slow, as_fast, fast, bad).chosen is as_fast, "less than 50 ms of CPU is noise"
    assert the_pair(slow, fast, bad).chosen is fast
    assert the_pair(slow, fast, bad, ties=("tokens",)).chosen is slow


def test_of_equally_bad_samples_syntax_errors_are_rejected_before_timeouts_and_those_before_the_others():
    good = sample(1)
    wrong, crash = sample(0), sample(0, "runtime_error")
    late, broken = sample(0, "timeout"), sample(0, "syntax_error")
    assert the_pair(wrong, crash, late, broken, good).rejected is broken
    assert the_pair(wrong, late, crash, good).rejected is late
    assert the_pair(crash, wrong, good).rejected is crash
    assert the_pair(sample(0.5, "timeout"), wrong, good).rejected is wrong, "the lowest ratio goes first"


def test_a_problem_without_a_pair_says_why():
    failed = sample(0, "api_error")
    assert the_reason(sample(0), sample(0, "timeout")) == "no sample passes a test"
    assert the_reason(sample(1), sample(1)) == "all samples pass all tests"
    assert the_reason(sample(0.8), sample(0.6)) == "pass ratios too close"
    assert the_reason(sample(1), failed, failed) == "too few verdicts"


def test_what_the_judge_failed_on_is_neither_chosen_nor_rejected():
    good, bad = sample(1), sample(0.5)
    pair = the_pair(sample(0, "api_error"), good, bad, sample(0, "api_error"))
    assert (pair.chosen, pair.rejected) == (good, bad)


@pytest.mark.parametrize("passed", range(30, 101))
def test_a_difference_of_exactly_the_margin_makes_a_pair_whatever_binary_fractions_make_of_it(passed):
    """In binary 0.7 - 0.4 is less than 0.3, and 0.8 - 0.5 is more."""
    better, worse = sample(passed / 100), sample((passed - 30) / 100)
    assert the_pair(better, worse).delta == 0.3 == float(MARGIN)
    assert the_reason(better, sample((passed - 29) / 100)) == "pass ratios too close"
    late = sample((passed - 30) / 100, "timeout")
    assert [pair.rejected for pair in hard_negatives([], [[better]], [late])] == [late]
    assert hard_negatives([], [[better]], [sample((passed - 29) / 100, "timeout")]) == []


def test_a_problem_gives_at_most_two_hard_negatives():
    failures = [sample(0.1 * n, "timeout") for n in range(1, 5)]
    assert len(hard_negatives([], [[sample(1)]], failures)) == 2


def test_failures_of_another_run_become_further_pairs_with_the_best_program_of_the_problem():
    good, bad = sample(1), sample(0, "timeout")
    only_good = [sample(1, problem="q"), sample(1, problem="q", tokens=10)]
    groups = [[good, bad], only_good, [sample(0, problem="r")], [sample(0.2, problem="s"), sample(0, problem="s")]]
    pairs, _ = build_pairs(groups)
    late, broken = sample(0, "timeout", text="while True: pass"), sample(0, "syntax_error", problem="q")
    failures = [
        bad,  # rejected already
        late,
        late,  # twice the same
        sample(0, "runtime_error"),  # not hard
        broken,
        sample(0, "timeout", problem="r"),  # nothing good to prefer
        sample(0, "timeout", problem="s"),  # the best is hardly better
        sample(0, "timeout", problem="elsewhere"),
    ]
    found = hard_negatives(pairs, groups, failures)
    assert [(pair.chosen, pair.rejected) for pair in found] == [(good, late), (only_good[1], broken)]
    many = [sample(0, "timeout") for _ in range(5)]
    assert [pair.rejected for pair in hard_negatives(pairs, groups, many, limit=2)] == many[:2]


def test_real_verdicts_make_the_pair_one_expects():
    tests = (Test("5\n", "5\n"), Test("7\n", "7\n"))
    echo = Problem("echo", "tiny", "train", "stdio", "echo", tests, time_limit=0.2)
    programs = ["print(5)", "while True: pass", "print(int(input()))", "print(input())", "print(input("]
    with Judge(workers=1) as judge:
        verdicts = judge.judge_many([(extract(answer(program)).program, echo) for program in programs], progress=False)
    group = [
        Sample(answer(program), len(program), False, program, verdict, echo)
        for program, verdict in zip(programs, verdicts, strict=True)
    ]
    pair = the_pair(*group)
    assert (pair.chosen.completion, pair.rejected.completion) == (answer("print(input())"), answer("print(input("))
    assert the_pair(*group[:4]).rejected.completion == answer("while True: pass")


def test_pairs_are_made_without_any_model_library():
    program = "import sys, lib.training.pairs; print({'torch', 'transformers', 'trl'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
