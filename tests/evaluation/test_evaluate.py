import csv
import json
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from diskcache import Cache
from tiny_policy import make_model, make_tokenizer, teach

from lib.evaluation.dialogues import run_dialogues
from lib.evaluation.evaluate import Subject, evaluate
from lib.evaluation.sampling import sample_and_judge
from lib.judge import Judge
from lib.judge.conformance.judge_checks import busy_processes
from lib.judge.verdict import Verdict
from lib.metrics import JudgeFailure
from lib.policy.engines import TransformersEngine
from lib.policy.generation import Completion
from lib.policy.models import load_policy, load_tokenizer
from lib.policy.protocols import Protocol, eval_at_1
from lib.problems import Problem, Test
from lib.problems.manifest import version
from lib.runs.params_files import load_params_file
from lib.runs.paths import root

# What the policy has learned by heart to answer, and what the judge must say of it.
ANSWERS = {
    "add": ("a, b = map(int, input().split())\nprint(a + b)", "success"),
    "subtract": ("a, b = map(int, input().split())\nprint(a + b)", "wrong_answer"),
    "multiply": ("print(", "syntax_error"),
    "divide": ("print(1 // 0)", "runtime_error"),
    "wait": ("while True: pass", "timeout"),
}
RESULTS = {"add": (12, 5), "subtract": (2, 5), "multiply": (35, 0), "divide": (1, 7), "wait": (0, 0)}


def problem(prompt: str, name: str) -> Problem:
    tests = tuple(Test(given, f"{out}\n") for given, out in zip(("7 5\n", "5 0\n"), RESULTS[prompt], strict=True))
    difficulty = "easy" if prompt == "add" else "hard"
    return Problem(name, "tiny", "test", "stdio", prompt, tests, time_limit=0.2, difficulty=difficulty)


SETS = {
    "contests_test": [problem(prompt, f"c{n}") for n, prompt in enumerate(ANSWERS)],
    "mbpp_test": [problem("add" if n == 7 else "multiply", f"m{n}") for n in range(8)],
}


SUBJECT = Subject("base", "step-7", step=7)
GREEDY = eval_at_1(60)
TIMES = ("gen_time", "judge_time")


@pytest.fixture(autouse=True)
def interrupted(tmp_path_factory, monkeypatch):
    """What interrupted evaluations leave goes where no other test finds it."""
    folder = tmp_path_factory.mktemp("artifacts")
    monkeypatch.setenv("RLVR_ARTIFACTS", str(folder))
    return folder / "scratch" / "evaluations"


def without_times(folder) -> dict:
    """All files of an evaluation by name, the times in the QA lines left out."""
    files = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    for name in files:
        if name.endswith(".jsonl"):
            lines = [json.loads(line) for line in files[name].splitlines()]
            files[name] = [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
    return files


@pytest.fixture(scope="module")
def policy():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    loss = teach(model, tokenizer, {prompt: program for prompt, (program, _) in ANSWERS.items()}, steps=250)
    assert loss < 0.05, "the policy must know its answers by heart"
    return model, tokenizer


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


def test_an_evaluation_says_what_the_judge_said_of_each_answer(policy, judge, tmp_path):
    found = evaluate(TransformersEngine(*policy), SETS, judge, tmp_path, GREEDY, SUBJECT)
    assert (found["protocol"], found["decoding"]["max_new_tokens"]) == ("EVAL@1", 60)
    contests, mbpp = found["datasets"]["contests_test"], found["datasets"]["mbpp_test"]
    for kind in ("wrong_answer", "syntax_error", "runtime_error", "timeout"):
        assert contests[f"{kind}_rate"] == 1 / 5
    assert (contests["n"], contests["accepted_at_1"], contests["pass_ratio_mean"]) == (5, 1 / 5, 1.5 / 5)
    assert (contests["format_rate"], contests["truncation_rate"]) == (1.0, 0.0)
    assert contests["by_difficulty"]["easy"]["accepted_at_1"] == 1
    assert (mbpp["n"], mbpp["accepted_at_1"], mbpp["syntax_error_rate"]) == (8, 1 / 8, 7 / 8)

    with open(tmp_path / "verdicts.csv", newline="") as file:
        verdicts = list(csv.DictReader(file))
    assert [row["problem_id"] for row in verdicts] == [problem.id for problems in SETS.values() for problem in problems]
    assert [row["error_type"] for row in verdicts[:5]] == [error_type for _, error_type in ANSWERS.values()]
    assert verdicts[1]["pass_ratio"] == "0.5000"


def test_the_qa_log_keeps_some_of_each_error_type_with_prompt_and_response(policy, judge, tmp_path):
    evaluate(TransformersEngine(*policy), SETS, judge, tmp_path, GREEDY, SUBJECT)
    contests, mbpp = (
        [json.loads(line) for line in (tmp_path / "qa_logs" / f"{name}.jsonl").read_text().splitlines()]
        for name in SETS
    )
    assert {row["error_type"] for row in contests} == {error_type for _, error_type in ANSWERS.values()}
    assert [row["error_type"] for row in mbpp] == ["success"] + ["syntax_error"] * 5
    assert mbpp[0]["prompt"] == "add"
    assert mbpp[0]["response"] == f"```python\n{ANSWERS['add'][0]}\n```"
    assert (mbpp[0]["passed"], mbpp[0]["total"], mbpp[0]["accepted"]) == (2, 2, True)
    assert mbpp[0]["gen_time"] > 0
    assert mbpp[0]["extra"] == {"step": 7, "checkpoint": "step-7", "model": "base"}
    counts = json.loads((tmp_path / "qa_logs" / "qa_summary.json").read_text())
    assert counts["mbpp_test"]["by_error_type"]["syntax_error"] == {"found": 7, "kept": 5}


def test_the_same_evaluation_again_gives_the_same_files_and_figures_but_for_the_times(policy, judge, tmp_path):
    first, again = (
        evaluate(TransformersEngine(*policy), SETS, judge, tmp_path / name, GREEDY, SUBJECT) for name in ("1", "2")
    )
    assert first.pop("times").keys() == again.pop("times").keys()
    assert first == again
    files = without_times(tmp_path / "1")
    assert len(files) == 4
    assert files == without_times(tmp_path / "2")


def test_a_long_evaluation_tells_how_far_it_is_and_a_short_one_is_quiet(policy, judge, tmp_path, monkeypatch, capsys):
    engine = TransformersEngine(*policy, batch_size=4)
    evaluate(engine, SETS, judge, tmp_path, GREEDY, SUBJECT)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("lib.evaluation.evaluate.PROGRESS_SECONDS", 0)
    evaluate(engine, SETS, judge, tmp_path, GREEDY, SUBJECT)
    told = [line.partition(" generated")[0] for line in capsys.readouterr().out.splitlines()]
    assert told == [f"{done} of 13 programs" for done in (4, 8, 12, 13)]


def test_a_busy_machine_changes_nothing_but_the_times(policy, judge, tmp_path):
    engine = TransformersEngine(*policy)
    alone = evaluate(engine, SETS, judge, tmp_path / "alone", GREEDY, SUBJECT)
    with busy_processes(8), Judge(workers=1) as beside:  # a judge of its own, which remembers no verdict
        busy = evaluate(engine, SETS, beside, tmp_path / "busy", GREEDY, SUBJECT)
    assert alone.pop("times").keys() == busy.pop("times").keys()
    assert alone == busy
    assert without_times(tmp_path / "alone") == without_times(tmp_path / "busy")


def test_nothing_is_written_when_the_judge_fails_too_often(policy, tmp_path):
    class BrokenJudge:
        answer_block = "last"

        def judge_many(self, submissions):
            return [Verdict(False, 0.0, "api_error", 0, 2, 0.0, feedback="no worker left") for _ in submissions]

        def stats(self):
            return {}

    with pytest.raises(JudgeFailure, match=r"13 of 13 programs.*no worker left"):
        evaluate(TransformersEngine(*policy), SETS, BrokenJudge(), tmp_path, GREEDY, SUBJECT)
    assert not list(tmp_path.iterdir())


def test_an_empty_evaluation_is_refused(policy, judge, tmp_path):
    with pytest.raises(ValueError, match="every set is empty"):
        evaluate(TransformersEngine(*policy), {"contests_test": []}, judge, tmp_path, GREEDY, SUBJECT)


def test_a_result_names_what_was_measured_and_how(policy, judge, tmp_path):
    found = evaluate(TransformersEngine(*policy), SETS, judge, tmp_path, eval_at_1(60, seed=3), SUBJECT)
    assert {key: found[key] for key in ("protocol", "engine", "model", "checkpoint", "step", "seed")} == {
        "protocol": "EVAL@1",
        "engine": "transformers",
        "model": "base",
        "checkpoint": "step-7",
        "step": 7,
        "seed": 3,
    }
    assert found["decoding"] == {
        "max_new_tokens": 60,
        "samples": 1,
        "temperature": 0.0,
        "top_p": 1.0,
        "ks": [],
        "token_budget": None,
    }
    assert found["manifest"] == {name: version(problems) for name, problems in SETS.items()}


class Undecided:
    """An engine that answers with a right program, then with a wrong one."""

    name = identity = "undecided"

    def batches(self, conversations, protocol, skip):
        text = f"```python\n{ANSWERS['add'][0]}\n```\nor\n```python\nprint(0)\n```"
        yield [(row, Completion(text, (1,), False)) for row in range(len(conversations))]


@pytest.mark.parametrize(("block", "accepted"), [("first", 1.0), ("last", 0.0)])
def test_the_preset_chooses_which_of_several_blocks_is_judged_and_the_result_records_it(block, accepted, tmp_path):
    preset = load_params_file(root() / "params" / "tiny" / "preset.yaml")
    assert preset["judge"]["answer_block"] == "last"
    with Judge(**preset["judge"] | {"answer_block": block}) as judge:
        found = evaluate(Undecided(), {"add": [problem("add", "a")]}, judge, tmp_path, GREEDY, SUBJECT)
    assert (found["answer_block"], found["datasets"]["add"]["accepted_at_1"]) == (block, accepted)


@pytest.mark.parametrize(("block", "program"), [("first", ANSWERS["add"][0]), ("last", "print(0)")])
def test_samples_and_dialogues_are_judged_by_the_same_rule(block, program, monkeypatch):
    [[(_, written)]] = Undecided().batches([[]], GREEDY, frozenset())
    for module in ("sampling", "dialogues"):
        monkeypatch.setattr(f"lib.evaluation.{module}.generate", lambda *_, **__: [[written]])
    with Judge(workers=1, answer_block=block) as judge:
        [[sample]] = sample_and_judge(None, None, [problem("add", "a")], judge, GREEDY)
        model, tokenizer = SimpleNamespace(config=None), make_tokenizer()
        [dialogue] = run_dialogues(model, tokenizer, [problem("add", "a")], judge, str, rounds=1, max_new_tokens=9)
    assert sample.program == dialogue.last.program == program
    assert sample.verdict.accepted == dialogue.last.verdict.accepted == (block == "first")


# PLAN's names, and what every result says of itself.
WHAT = {"protocol", "decoding", "engine", "model", "checkpoint", "step", "seed", "manifest"}
WHAT |= {"instruction", "answer_block"}
RATES = {"accepted_at_1", "exec_success_rate", "zero_reward_rate", "truncation_rate", "format_rate"}
RATES |= {f"{kind}_rate" for kind in ("syntax_error", "runtime_error", "timeout", "wrong_answer")}
MEANS = {"pass_ratio_mean", "avg_gen_tokens"}
OTHERS = {"n", "api_errors", "api_error_rate", "pass_ratio_p50", "pass_ratio_p90", "cost_per_solved_tokens"}
OTHERS |= {"detectable_difference", "by_difficulty"}
TIMES_OF_ALL = {"wall_s", "generation_s", "judge_s", "throughput", "tests_per_s", "recalled", "datasets"}
TIMES_OF_ALL |= {"cache_hit_rate", "retry_rate", "queue_length"}
TIMES_OF_A_SET = {"avg_judge_time", "judge_time_p50", "judge_time_p95", "cost_per_solved_judge_s"}


def test_the_schema_of_metrics_json(policy, judge, tmp_path):
    found = evaluate(TransformersEngine(*policy), SETS, judge, tmp_path, GREEDY, SUBJECT)
    assert found.keys() == WHAT | {"datasets", "times"}
    assert found["times"].keys() == TIMES_OF_ALL
    for name in SETS:
        assert found["datasets"][name].keys() == RATES | MEANS | OTHERS | {f"{one}_interval" for one in RATES | MEANS}
        assert found["times"]["datasets"][name].keys() == TIMES_OF_A_SET


def test_the_manifest_changes_with_a_test_of_a_problem():
    one, other = problem("add", "c0"), problem("subtract", "c0")
    assert version([one]) == version([one]) != version([replace(one, tests=other.tests)])
    assert version([one, other])["n"] == 2


def test_a_result_without_a_model_or_a_checkpoint_is_refused():
    for model, checkpoint in (("", "end"), ("base", "")):
        with pytest.raises(ValueError, match="must name its model and its checkpoint"):
            Subject(model, checkpoint)


def test_samples_give_pass_at_k_and_what_a_budget_of_tokens_buys(policy, judge, tmp_path):
    engine = TransformersEngine(*policy, batch_size=16)
    sampled = {"samples": 4, "temperature": 0.8, "seed": 3}
    four, budget = Protocol("EVAL@k", 60, ks=(1, 4), **sampled), Protocol("EVAL@budget", 60, token_budget=60, **sampled)
    at_k = evaluate(engine, SETS, judge, tmp_path / "k", four, SUBJECT)
    assert (at_k["decoding"]["samples"], at_k["decoding"]["seed"]) == (4, 3), "what drew the samples is told"
    mbpp = at_k["datasets"]["mbpp_test"]
    assert mbpp["n"] == 8
    assert mbpp["accepted_at_1"] == pytest.approx(mbpp["pass_at_1"])
    assert mbpp["pass_at_1"] <= mbpp["pass_at_4"]
    with open(tmp_path / "k" / "verdicts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sample"] for row in rows[:5]] == ["0", "1", "2", "3", "0"]
    budget = evaluate(engine, SETS, judge, tmp_path / "b", budget, SUBJECT)
    assert budget["datasets"]["mbpp_test"]["accepted_at_budget"] <= mbpp["pass_at_4"]


def test_after_a_failure_of_the_judge_only_what_it_failed_on_is_judged_again(policy, judge, tmp_path, interrupted):
    class Moody:
        """Fails on the second call, and remembers how much it was asked."""

        def __init__(self):
            self.asked, self.answer_block = [], judge.answer_block

        def judge_many(self, submissions):
            self.asked.append(len(submissions))
            if len(self.asked) == 2:
                return [Verdict(False, 0.0, "api_error", 0, 2, 0.0, feedback="down") for _ in submissions]
            return judge.judge_many(submissions)

        def stats(self):
            return judge.stats()

    moody = Moody()
    engine = TransformersEngine(*policy, batch_size=4)
    with pytest.raises(JudgeFailure):
        evaluate(engine, SETS, moody, tmp_path / "1", GREEDY, SUBJECT)
    found = evaluate(engine, SETS, moody, tmp_path / "1", GREEDY, SUBJECT)
    assert moody.asked == [4, 4, 4, 1, 4]
    assert found["times"]["recalled"] == 9
    assert not list(interrupted.iterdir())
    whole = evaluate(engine, SETS, judge, tmp_path / "2", GREEDY, SUBJECT)
    assert found["datasets"] == whole["datasets"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = ["tests", "tests/evaluation"]
from test_evaluate import GREEDY, SETS, SUBJECT
from lib.evaluation.evaluate import evaluate
from lib.judge import Judge
from lib.policy.engines import TransformersEngine
from lib.policy.models import load_policy, load_tokenizer

class Slow:
    def __init__(self, judge): self.judge, self.stats, self.answer_block = judge, judge.stats, judge.answer_block
    def judge_many(self, pairs):
        if len(pairs) == 1:  # the last batch: by now the first three have been kept
            os.kill(os.getpid(), signal.SIGKILL)
        return self.judge.judge_many(pairs)

policy, folder = sys.argv[1:]
with Judge(workers=1) as judge:
    model, tokenizer = load_policy(policy), load_tokenizer(policy)
    evaluate(TransformersEngine(model, tokenizer, 4), SETS, Slow(judge), Path(folder), GREEDY, SUBJECT)
"""


def test_an_evaluation_that_was_killed_goes_on_and_ends_with_the_same_files(policy, judge, tmp_path, interrupted):
    for part in policy:
        part.save_pretrained(tmp_path / "policy")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "policy"), str(killed)], cwd=root())
    assert done.returncode == -signal.SIGKILL
    [folder] = interrupted.iterdir()
    with Cache(folder) as kept:
        assert len(kept) == 12
    loaded = load_policy(tmp_path / "policy"), load_tokenizer(tmp_path / "policy")
    engine = TransformersEngine(*loaded, batch_size=4)
    resumed = evaluate(engine, SETS, judge, killed, GREEDY, SUBJECT)
    again = evaluate(engine, SETS, judge, whole, GREEDY, SUBJECT)
    assert (resumed.pop("times")["recalled"], again.pop("times")["recalled"]) == (12, 0)
    assert resumed == again
    assert without_times(killed) == without_times(whole)
    assert not list(interrupted.iterdir())
