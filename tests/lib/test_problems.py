import gzip
import json
import lzma
import subprocess
import sys
from pathlib import Path

import pytest

from lib.problems import Problem, Test, load_problems

ROWS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
real_rows = pytest.mark.skipif(not ROWS.is_dir(), reason="no ../shared/data with real rows beside the project")

CONTEST = {
    "name": "1_A. Sum",
    "description": "Add two numbers.",
    "public_tests": {"input": ["1 2"], "output": ["3\n"]},
    "private_tests": {"input": ["0 0\n"], "output": ["0\n"]},
    "generated_tests": {"input": ["5 5\n", "6 6\n"], "output": ["10\n", "12\n"]},
    "difficulty": 8,
    "solutions": {"language": [1, 3, 2, 3], "solution": ["print 3", "print(3)", "int main", "print(1+2)"]},
    "incorrect_solutions": {"language": [4, 3], "solution": ["class", "print(4)"]},
    "cf_tags": ["math", ""],
    "time_limit": {"seconds": 1, "nanos": 500_000_000},
    "memory_limit_bytes": 256_000_000,
    "input_file": "",
    "output_file": "",
}
HUMANEVAL = {
    "task_id": "HumanEval/38",
    "prompt": 'import math\n\ndef encode(s):\n    return s[::-1]\n\n\ndef decode(s):\n    """Undo encode."""\n',
    "canonical_solution": "    return s[::-1]\n",
    "test": "def check(candidate):\n    assert candidate(encode('ab')) == 'ab'\n",
    "entry_point": "decode",
}
MBPP = {
    "task_id": 11,
    "text": "Write a function f that doubles.",
    "code": "def f(x): return 2 * x",
    "test_list": ["assert f(one) == 2", "assert f(2) == 4"],
    "test_setup_code": "one = 1",
    "challenge_test_list": [],
}


def file_of(path: Path, *rows: dict) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def test_a_contest(tmp_path):
    assert load_problems("codecontests", "train", file_of(tmp_path / "rows.jsonl", CONTEST)) == [
        Problem(
            id="1_A. Sum",
            dataset="codecontests",
            split="train",
            kind="stdio",
            prompt="Add two numbers.",
            tests=(
                Test("1 2", "3\n", "public"),
                Test("5 5\n", "10\n", "generated"),  # the large ones: a submission ends at its first time-out
                Test("6 6\n", "12\n", "generated"),
                Test("0 0\n", "0\n", "private"),
            ),
            time_limit=1.5,
            memory_limit=244,
            difficulty="B",
            tags=("math",),
            solutions=("print(3)", "print(1+2)"),
            incorrect_solutions=("print(4)",),
        )
    ]


def test_a_contest_without_limits_gets_the_usual_ones(tmp_path):
    row = {**CONTEST, "time_limit": None, "memory_limit_bytes": 0, "difficulty": 0}
    (problem,) = load_problems("codecontests", "train", file_of(tmp_path / "rows.jsonl", row))
    assert (problem.time_limit, problem.memory_limit, problem.difficulty) == (2.0, 256, "")


def test_a_contest_over_named_files_is_left_out(tmp_path):
    rows = [{**CONTEST, "input_file": "in.txt"}, CONTEST]
    assert len(load_problems("codecontests", "train", file_of(tmp_path / "rows.jsonl", *rows))) == 1


def test_humaneval_brings_the_helpers_that_only_its_prompt_defines(tmp_path):
    (problem,) = load_problems("humaneval", source=file_of(tmp_path / "rows.jsonl.gz", HUMANEVAL))
    (test,) = problem.tests
    assert test.input.startswith("def encode(s):\n    return s[::-1]\n\n")
    assert "import math" not in test.input, "a program that forgets an import is wrong"
    assert test.input.endswith("check(decode)\n")
    assert problem.entry_point == "decode"
    namespace: dict = {}
    exec(problem.solutions[0] + test.input, namespace)


def test_humaneval_leaves_other_functions_of_the_prompt_alone(tmp_path):
    row = {**HUMANEVAL, "test": "def check(candidate):\n    assert candidate('ab') == 'ba'\n"}
    (problem,) = load_problems("humaneval", source=file_of(tmp_path / "rows.jsonl", row))
    assert "encode" not in problem.tests[0].input


def test_mbpp_has_one_public_test_per_assert_with_its_set_up(tmp_path):
    (problem,) = load_problems("mbpp_reg", source=file_of(tmp_path / "rows.jsonl", MBPP))
    assert problem.tests == (
        Test("one = 1\nassert f(one) == 2", visibility="public"),
        Test("one = 1\nassert f(2) == 4", visibility="public"),
    )
    assert problem.id == "mbpp_reg/11"
    assert problem.prompt == (
        "Write a function f that doubles.\nYour code should pass these tests:\nassert f(one) == 2\nassert f(2) == 4"
    )
    assert problem.time_limit == 10.0


def test_mbpp_reg_is_tasks_11_to_210(tmp_path):
    rows = [{**MBPP, "task_id": n} for n in (10, 11, 210, 211)]
    problems = load_problems("mbpp_reg", source=file_of(tmp_path / "rows.jsonl", *rows))
    assert [problem.id for problem in problems] == ["mbpp_reg/11", "mbpp_reg/210"]


def test_files_may_be_compressed(tmp_path):
    files = [file_of(tmp_path / f"rows.jsonl{suffix}", CONTEST) for suffix in ("", ".gz", ".xz")]
    first, *others = [load_problems("codecontests", "valid", file) for file in files]
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("codecontest",), "no problem set 'codecontest'; there are: tiny_contests, "),
        (("codecontests",), "has no split None; it has: train, valid, test"),
        (("humaneval", "train"), "has no split 'train'; it has: test"),
    ],
)
def test_unknown_names_are_told_the_known_ones(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_problems(*arguments)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file rows\.jsonl in "):
        load_problems("humaneval", source=tmp_path / "rows.jsonl")


def test_a_row_of_another_schema_is_named(tmp_path):
    rows = [CONTEST, {key: value for key, value in CONTEST.items() if key != "private_tests"}]
    with pytest.raises(ValueError, match=r"row 2 of .* has not the schema of codecontests: no column 'private_tests'"):
        load_problems("codecontests", "train", file_of(tmp_path / "rows.jsonl", *rows))
    uneven = {**CONTEST, "public_tests": {"input": ["1"], "output": []}}
    with pytest.raises(ValueError, match=r"row 1 of .* has not the schema of codecontests: ValueError"):
        load_problems("codecontests", "train", file_of(tmp_path / "rows.jsonl", uneven))
    (tmp_path / "rows.jsonl").write_text("{not json\n")
    with pytest.raises(ValueError, match=r"line 1 of rows\.jsonl is not JSON"):
        load_problems("codecontests", "train", tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("name", "split", "count"),
    [
        ("tiny_contests", "valid", 117),
        ("tiny_contests", "valid_big", 500),
        ("tiny_contests", "test", 165),
        ("tiny_humaneval", None, 164),
        ("tiny_mbpp", "test", 200),
    ],
)
def test_the_tiny_sets_have_the_sizes_of_the_real_ones(name, split, count):
    problems = load_problems(name, split)
    assert len(problems) == count
    assert len({problem.id for problem in problems}) == count
    assert all(problem.tests and problem.prompt for problem in problems)


def test_tiny_train_has_solutions_for_a_part():
    problems = load_problems("tiny_contests", "train")
    assert len(problems) >= 2000
    assert 0 < sum(bool(problem.solutions) for problem in problems) < len(problems)


@real_rows
@pytest.mark.parametrize(
    ("name", "split", "file", "count"),
    [
        ("codecontests", "test", "codecontests/test_165.jsonl.gz", 165),
        ("codecontests", "train", "codecontests/train_150.jsonl.gz", 150),
        ("humaneval", "test", "humaneval/HumanEval.jsonl.gz", 164),
        ("mbpp", "test", "mbpp/mbpp.jsonl", 974),
        ("mbpp_reg", "test", "mbpp/mbpp.jsonl", 200),
    ],
)
def test_real_rows_are_read_by_the_same_converters(name, split, file, count):
    problems = load_problems(name, split, ROWS / file)
    assert len(problems) == count
    assert all(isinstance(problem, Problem) and problem.tests for problem in problems)


@real_rows
def test_only_three_humaneval_tasks_need_helpers():
    problems = load_problems("humaneval", source=ROWS / "humaneval" / "HumanEval.jsonl.gz")
    helped = [problem.id for problem in problems if problem.tests[0].input.lstrip().startswith("def poly")]
    helped += [problem.id for problem in problems if problem.tests[0].input.startswith("def encode")]
    assert helped == ["HumanEval/32", "HumanEval/38", "HumanEval/50"]


def test_local_files_need_nothing_beyond_python():
    code = "import sys, lib.problems\nassert not {'datasets', 'numpy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_hub_is_asked_for_a_pinned_revision(monkeypatch):
    asked = []

    class Datasets:
        @staticmethod
        def load_dataset(*place, **options):
            asked.append((*place, options))
            return [MBPP]

    monkeypatch.setitem(sys.modules, "datasets", Datasets)
    assert [problem.id for problem in load_problems("mbpp_reg")] == ["mbpp_reg/11"]
    ((name, configuration, options),) = asked
    assert (name, configuration, options["split"]) == ("google-research-datasets/mbpp", "full", "test")
    assert len(options["revision"]) == 40
