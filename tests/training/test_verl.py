"""Rows and reward for verl, against its documented schema and calling convention: verl itself is no dependency.

The same file has been read once by `RLHFDataset`, and the reward called by the naive reward manager, of verl 0.9.1.
"""

import subprocess
import sys
import time

import pytest
from datasets import Features, Value, load_dataset

from lib.judge import Judge, Verdict
from lib.metrics import JudgeFailure
from lib.policy.prompts import answer
from lib.problems import Problem, RoleError, Test, load_problems
from lib.runs.paths import root
from lib.training import verl as verl_export
from lib.training.verl import compute_score, export, rows

PROBLEM = Problem(
    id="double",
    dataset="tiny_contests",
    split="train",
    kind="stdio",
    prompt="Read n. Print n times 2.",
    tests=(Test("3\n", "6\n", "public"), Test("0\n", "0\n"), Test("5\n", "10\n"), Test("7\n", "14\n")),
    solutions=("print(2 * int(input()))",),
)
SCHEMA = Features(
    {
        "data_source": Value("string"),
        "prompt": [{"role": Value("string"), "content": Value("string")}],
        "ability": Value("string"),
        "reward_model": {"style": Value("string"), "ground_truth": Value("string")},
        "extra_info": {
            "split": Value("string"),
            "index": Value("int64"),
            "problem_id": Value("string"),
            "difficulty": Value("string"),
        },
    }
)


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


@pytest.fixture(autouse=True)
def _one_judge(judge, monkeypatch):
    monkeypatch.setattr(verl_export, "_judge", lambda: judge)


def call(solution: str, **options) -> dict:
    """As verl's reward managers call it: by name, with an extra_info that they add to."""
    [row] = rows([PROBLEM])
    return compute_score(
        data_source=row["data_source"],
        solution_str=solution,
        ground_truth=row["reward_model"]["ground_truth"],
        extra_info=row["extra_info"] | {"num_turns": 2, "rollout_reward_scores": {}},
        **options,
    )


def test_the_parquet_file_has_verls_columns_and_every_problem_comes_back_as_the_judge_needs_it(tmp_path):
    problems = export("tiny_contests", "valid", tmp_path / "verl" / "valid.parquet", "Write Python.")
    found = load_dataset("parquet", data_files=str(tmp_path / "verl" / "valid.parquet"), cache_dir=tmp_path / "cache")[
        "train"
    ]
    assert found.features == SCHEMA
    assert len(found) == len(problems) == 117
    assert [path.name for path in (tmp_path / "verl").iterdir()] == ["valid.parquet"]
    loaded = load_problems("tiny_contests", "valid")
    for row, problem in zip(found, loaded, strict=True):
        back = verl_export._problem(row["reward_model"]["ground_truth"])
        assert (back.tests, back.time_limit, back.kind) == (problem.tests, problem.time_limit, problem.kind)
        assert back.solutions == ()
        assert row["prompt"] == [{"role": "user", "content": f"{problem.prompt.strip()}\nWrite Python."}]
        assert (row["reward_model"]["style"], row["extra_info"]["problem_id"]) == ("rule", problem.id)


def test_a_test_set_is_not_exported(tmp_path):
    with pytest.raises(RoleError, match="is a test set"):
        export("tiny_contests", "test", tmp_path / "test.parquet")
    assert not list(tmp_path.iterdir())


def test_the_score_comes_with_the_same_parts_for_every_answer():
    right, half, text = (call(one) for one in (answer("print(2 * int(input()))"), answer("print(6)"), "I don't know."))
    assert right == {"score": 1.0, "pass_ratio": 1.0, "accepted": 1.0, "ran_to_the_end": 1.0}
    assert half == {"score": 0.25, "pass_ratio": 0.25, "accepted": 0.0, "ran_to_the_end": 1.0}
    assert text == {"score": 0.0, "pass_ratio": 0.0, "accepted": 0.0, "ran_to_the_end": 0.0}


def test_the_reward_is_chosen_by_reward_kwargs():
    half = answer("print(6)")
    assert call(half, reward="sparse")["score"] == 0.0
    assert call(half, reward="dense_by_visibility")["score"] == 0.5
    mixed = call(half, reward={"dense": 1.0, "format": 0.5})
    assert (mixed["score"], mixed["dense"], mixed["format"]) == (0.75, 0.25, 1.0)
    several = answer("print(2 * int(input()))") + "\nor\n" + half
    assert (call(several)["score"], call(several, answer_block="first")["score"]) == (0.25, 1.0)
    with pytest.raises(ValueError, match="unknown reward 'dens'"):
        call(half, reward="dens")
    with pytest.raises(ValueError, match="soft_overlong needs the number of generated tokens"):
        call(half, reward="soft_overlong")


def test_a_failure_of_the_judge_is_never_a_score_and_counts_in_the_tally(monkeypatch, tmp_path):
    class Failing:
        def judge(self, program, problem):
            return Verdict(False, 0.0, "api_error", 0, 4, 0.0, feedback="The judge failed: no memory")

    monkeypatch.setattr(verl_export, "_judge", Failing)
    with pytest.raises(JudgeFailure, match=r"double of tiny_contests: no score.*no memory"):
        call(answer("print(6)"), tally=str(tmp_path))
    monkeypatch.undo()
    call(answer("print(6)"), tally=str(tmp_path))
    assert [file.read_text() for file in tmp_path.iterdir()] == ["x."]


TRAINER = """
import sys, time
folder, shares = sys.argv[1], [int(share) for share in sys.argv[2:]]
for worker, share in enumerate(shares):
    with open(f"{folder}/node-{worker}", "a") as file:
        file.write("x" * share + "." * (100 - share))
time.sleep(60 if sum(shares) > 20 else 0.3)
"""


def test_the_trainer_ends_when_the_judge_fails_too_often_over_all_workers(tmp_path):
    """A fifth of the answers of both workers, not of one."""
    trainer = [sys.executable, "-c", TRAINER, str(tmp_path)]
    (tmp_path / "node-9").write_text("x" * 500)  # an earlier attempt
    assert verl_export.watch(tmp_path, [*trainer, "0", "20"], pause=0.1) == 0
    began = time.monotonic()
    with pytest.raises(JudgeFailure, match=r"40 of 200 answers \(at most 10% may\), and the training was ended"):
        verl_export.watch(tmp_path, [*trainer, "20", "20"], pause=0.1)
    assert time.monotonic() - began < 30


def test_a_ground_truth_from_elsewhere_is_an_error():
    with pytest.raises(ValueError, match="export again"):
        compute_score("other", "text", '{"inputs": ["3"], "outputs": ["6"]}')


def test_a_reward_worker_loads_no_model_library():
    program = (
        "import sys, lib.training.verl\nprint([n for n in ('torch', 'transformers', 'datasets') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=root(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
