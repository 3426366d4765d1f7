import functools
import gzip
import hashlib
import json
import lzma
import subprocess
import sys
from pathlib import Path

import pytest

from lib.problems import ManifestError, Problem, Test, convert, manifest, rows
from lib.problems import load_problems as load_frozen

ROWS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
load_problems = functools.partial(load_frozen, frozen=False)  # rows as they are; what is frozen has tests below
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


def test_a_row_that_cannot_be_used_is_left_out_and_counted(tmp_path):
    none = {"input": [], "output": []}
    untested = {f"{visibility}_tests": none for visibility in ("public", "private", "generated")}
    changes = [{"input_file": "in.txt"}, {"output_file": "out.txt"}, {"description": " \n"}, untested, {}, {}]
    rows = [{**CONTEST, **change} for change in changes]
    problems = load_problems("codecontests", "train", file_of(tmp_path / "rows.jsonl", *rows))
    assert len(problems) == 1
    assert problems.dropped == {
        "reads or writes named files": 2,
        "no statement": 1,
        "no tests": 1,
        "its id was seen before": 1,
    }


def test_translated_and_illustrated_statements_are_used_as_they_are(tmp_path):
    row = {**CONTEST, "is_description_translated": True, "description": "The <image> is 2 \u2264 n."}
    (problem,) = load_problems("codecontests", "train", file_of(tmp_path / "rows.jsonl", row))
    assert problem.prompt == row["description"]


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
    assert problem.id == "mbpp/11", "one problem has one id, whichever set it is read from"
    assert problem.prompt == (
        "Write a function f that doubles.\nYour code should pass these tests:\nassert f(one) == 2\nassert f(2) == 4"
    )
    assert problem.time_limit == 10.0


def test_mbpp_reg_is_tasks_11_to_210(tmp_path):
    rows = [{**MBPP, "task_id": n} for n in (10, 11, 210, 211)]
    problems = load_problems("mbpp_reg", source=file_of(tmp_path / "rows.jsonl", *rows))
    assert [problem.id for problem in problems] == ["mbpp/11", "mbpp/210"]
    assert problems.dropped == {"of another split": 2}


def test_sanitized_mbpp_has_imports_for_its_tests(tmp_path):
    row = {key: MBPP[key] for key in ("task_id", "code", "test_list")}
    row |= {"prompt": "Double it.", "test_imports": ["import math", "import re"], "source_file": "x.ipynb"}
    (tmp_path / "rows.json").write_text(json.dumps([row, {**row, "task_id": 900}]))
    (problem,) = load_problems("mbpp_sanitized", "test", tmp_path / "rows.json")
    assert problem.tests[1].input == "import math\nimport re\nassert f(2) == 4"
    assert problem.prompt.startswith("Double it.\n")


def test_files_may_be_compressed(tmp_path):
    files = [file_of(tmp_path / f"rows.jsonl{suffix}", CONTEST) for suffix in ("", ".gz", ".xz")]
    first, *others = [load_problems("codecontests", "valid", file) for file in files]
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("codecontest",), "unknown problem source 'codecontest'; choose one of tiny_contests, "),
        (("codecontests",), "has no split None; it has: train, valid, valid_big, test"),
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
    with pytest.raises(ValueError, match=r"row 2 of .* violates the schema of codecontests: no column 'private_tests'"):
        load_problems("codecontests", "train", file_of(tmp_path / "rows.jsonl", *rows))
    uneven = {**CONTEST, "public_tests": {"input": ["1"], "output": []}}
    with pytest.raises(ValueError, match=r"row 1 of .* violates the schema of codecontests: ValueError"):
        load_problems("codecontests", "train", file_of(tmp_path / "rows.jsonl", uneven))
    (tmp_path / "rows.jsonl").write_text("{not json\n")
    with pytest.raises(ValueError, match=r"line 1 of rows\.jsonl is not JSON"):
        load_problems("codecontests", "train", tmp_path / "rows.jsonl")


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_file_that_was_cut_off_is_told_from_a_short_one(tmp_path, suffix):
    rows = [{**CONTEST, "name": f"{n} {n**9 % 997}"} for n in range(50)]
    file = file_of(tmp_path / f"rows.jsonl{suffix}", *rows)
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(ValueError, match=rf"rows\.jsonl{suffix} is damaged or cut off .*fetch or make it again"):
        load_problems("codecontests", "train", file)


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
def test_the_tiny_sets_have_the_sizes_of_the_real_ones_and_are_what_was_frozen(name, split, count):
    problems = load_frozen(name, split)
    assert len(problems) == count
    assert len({problem.id for problem in problems}) == count
    assert all(problem.tests and problem.prompt for problem in problems)


def test_tiny_train_has_solutions_for_a_part():
    problems = load_frozen("tiny_contests", "train")
    assert len(problems) >= 2000
    assert 0 < sum(bool(problem.solutions) for problem in problems) < len(problems)


GOLDEN = [  # set, split, file, problems, tests, rows left out
    ("codecontests", "test", "codecontests/test_165.jsonl.gz", 165, 1837, {}),
    ("codecontests", "train", "codecontests/train_150.jsonl.gz", 150, 1499, {}),
    ("humaneval", "test", "humaneval/HumanEval.jsonl.gz", 164, 164, {}),
    ("mbpp", "prompt", "mbpp/mbpp.jsonl", 10, 30, {"of another split": 964}),
    ("mbpp", "test", "mbpp/mbpp.jsonl", 500, 1500, {"of another split": 474}),
    ("mbpp", "validation", "mbpp/mbpp.jsonl", 90, 270, {"of another split": 884}),
    ("mbpp", "train", "mbpp/mbpp.jsonl", 374, 1122, {"of another split": 600}),
    ("mbpp_sanitized", "prompt", "mbpp/sanitized-mbpp.json", 7, 25, {"of another split": 420}),
    ("mbpp_sanitized", "test", "mbpp/sanitized-mbpp.json", 257, 776, {"of another split": 170}),
    ("mbpp_sanitized", "validation", "mbpp/sanitized-mbpp.json", 43, 129, {"of another split": 384}),
    ("mbpp_sanitized", "train", "mbpp/sanitized-mbpp.json", 120, 394, {"of another split": 307}),
    ("mbpp_reg", "test", "mbpp/mbpp.jsonl", 200, 600, {"of another split": 774}),
]


@real_rows
@pytest.mark.parametrize(("name", "split", "file", "count", "tests", "dropped"), GOLDEN)
def test_real_rows_are_read_by_the_same_converters(name, split, file, count, tests, dropped):
    problems = load_problems(name, split, ROWS / file)
    assert all(isinstance(problem, Problem) and problem.tests for problem in problems)
    assert (len(problems), sum(len(problem.tests) for problem in problems)) == (count, tests)
    assert problems.dropped == dropped


def test_all_of_mbpp_is_in_its_four_splits():
    loaded = {"mbpp": 0, "mbpp_sanitized": 0}
    for name, _, _, count, _, _ in GOLDEN:
        loaded |= {name: loaded[name] + count} if name in loaded else {}
    assert loaded == {"mbpp": 974, "mbpp_sanitized": 427}


@real_rows
def test_only_three_humaneval_tasks_need_helpers():
    problems = load_problems("humaneval", source=ROWS / "humaneval" / "HumanEval.jsonl.gz")
    helped = [problem.id for problem in problems if problem.tests[0].input.lstrip().startswith("def poly")]
    helped += [problem.id for problem in problems if problem.tests[0].input.startswith("def encode")]
    assert helped == ["HumanEval/32", "HumanEval/38", "HumanEval/50"]


def test_local_files_need_nothing_beyond_python():
    code = "import sys, lib.problems\nassert not {'datasets', 'numpy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


class Hub:
    """Stands for the package `datasets`: hands out `rows` and keeps what it was asked for."""

    def __init__(self, *rows: dict, fails_after: int | None = None):
        self.rows, self.fails_after, self.asked = rows, fails_after, []

    def load_dataset(self, *place, **options):
        self.asked.append((*place, options))
        for number, row in enumerate(self.rows):
            if number == self.fails_after:
                raise OSError("connection reset")
            yield row


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Puts a hub of the test's own in place, and the cache into the test's folder."""
    monkeypatch.setattr(rows.paths, "root", lambda: tmp_path)

    def install(hub: Hub) -> Hub:
        monkeypatch.setitem(sys.modules, "datasets", hub)
        return hub

    return install


def test_the_hub_is_asked_once_for_a_pinned_revision_and_the_columns_that_are_needed(hub, tmp_path):
    asked = hub(Hub({**CONTEST, "untranslated_description": "?"})).asked
    first = load_problems("codecontests", "valid")
    assert load_problems("codecontests", "valid") == first, "the second time from the cache"
    ((name, configuration, options),) = asked
    assert (name, configuration, options["split"]) == ("deepmind/code_contests", None, "valid")
    assert len(options["revision"]) == 40
    assert options["streaming"] is True
    assert set(options["columns"]) == {*convert.CONTEST, "solutions", "incorrect_solutions"}
    (cached,) = (tmp_path / "data" / "cache").iterdir()
    assert b"int main" not in gzip.decompress(cached.read_bytes()), "solutions in other languages are nine tenths of it"


def test_a_broken_transfer_leaves_no_cache_and_says_what_to_do(hub, tmp_path):
    hub(Hub(MBPP, {**MBPP, "task_id": 12}, fails_after=1))
    with pytest.raises(
        ConnectionError, match=r"could not read google-research-datasets/mbpp.*RLVR_ROWS=SOURCE=FILE_OR_FOLDER"
    ):
        load_problems("mbpp_reg")
    assert not list((tmp_path / "data" / "cache").iterdir())


def hub_copy(folder: Path, *contests: dict) -> Path:
    """A folder in the hub's shape, as parquet."""
    import pyarrow
    import pyarrow.parquet

    (folder / "data").mkdir(parents=True)
    table = pyarrow.Table.from_pylist(list(contests))
    pyarrow.parquet.write_table(table, folder / "data" / "train-00000-of-00001-e991a271dbfa9925.parquet")
    return folder


def test_a_folder_in_the_hubs_shape_goes_through_datasets(tmp_path):
    contests = [{**CONTEST, "name": str(n), "solutions": {"language": [3], "solution": [f"print({n})"]}} for n in "abc"]
    folder = hub_copy(tmp_path / "copy", *contests)
    problems = load_problems("codecontests", "train", folder)
    assert [(problem.id, problem.solutions) for problem in problems] == [(n, (f"print({n})",)) for n in "abc"]
    assert problems[0].tests == load_problems("codecontests", "train", file_of(tmp_path / "x.jsonl", CONTEST))[0].tests
    with pytest.raises(ValueError, match=r"could not be read as a copy of deepmind/code_contests, split valid"):
        load_problems("codecontests", "valid", folder)


@pytest.fixture
def frozen(tmp_path, monkeypatch):
    """Freezes rows of CodeContests valid in the test's folder; gives the file of the rows."""
    monkeypatch.setattr(manifest.paths, "root", lambda: tmp_path)

    def freeze(*contests: dict, **changes) -> Path:
        file = file_of(tmp_path / "rows.jsonl", *contests)
        entries = [manifest.entry(one, "select") | changes for one in load_problems("codecontests", "valid", file)]
        text = "".join(json.dumps(one) + "\n" for one in entries)
        manifest.folder().mkdir(parents=True, exist_ok=True)
        (manifest.folder() / "codecontests-valid.jsonl").write_text(text)
        known = {"codecontests-valid.jsonl": {"sha256": hashlib.sha256(text.encode()).hexdigest()}}
        (manifest.folder() / "index.json").write_text(manifest.index_text(known))
        return file

    return freeze


OTHER = {**CONTEST, "name": "2", "description": "Another."}


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ([CONTEST], r"0 new or changed, 1 \(2\) not found"),
        ([CONTEST, OTHER, {**OTHER, "name": "3"}], r"1 \(3\) new or changed, 0 not found"),
        ([CONTEST, {**OTHER, "description": "Another one."}], r"1 \(2\) new or changed, 1 \(2\) not found"),
        ([CONTEST, {**OTHER, "private_tests": {"input": ["0 1"], "output": ["1"]}}], r"1 \(2\) new or changed"),
        ([CONTEST, {**OTHER, "generated_tests": {"input": [], "output": []}}], r"1 \(2\) new or changed, 0 not found"),
    ],
    ids=["gone", "new", "statement", "tests", "generated tests"],
)
def test_a_set_that_changed_since_it_was_frozen_is_an_error(frozen, now, message):
    frozen(CONTEST, OTHER)
    with pytest.raises(ManifestError, match=message):
        load_frozen("codecontests", "valid", file_of(Path(frozen(CONTEST, OTHER)), *now))


def test_what_two_copies_of_a_set_may_differ_in_is_no_change(frozen):
    file = frozen(CONTEST)
    same = {**CONTEST, "description": "Add  two numbers.\n", "cf_tags": [], "time_limit": None}
    same["public_tests"], same["private_tests"] = CONTEST["private_tests"], CONTEST["public_tests"]
    assert len(load_frozen("codecontests", "valid", file_of(file, same))) == 1


def test_a_problem_that_the_manifest_removes_is_left_out_and_counted(frozen):
    file = frozen(CONTEST, role="removed", reason="same tests as in humaneval")
    problems = load_frozen("codecontests", "valid", file)
    assert (problems, problems.dropped) == ([], {"same tests as in humaneval": 1})


def test_a_manifest_that_is_missing_or_edited_is_an_error_that_says_what_to_do(frozen):
    file = frozen(CONTEST)
    with pytest.raises(
        ManifestError, match=r"codecontests, split train, is not frozen.*lib.problems.freeze write codecontests"
    ):
        load_frozen("codecontests", "train", file)
    (manifest.folder() / "codecontests-valid.jsonl").write_text("")
    with pytest.raises(ManifestError, match=r"is not the file in index\.json: git restore"):
        load_frozen("codecontests", "valid", file)


@real_rows
def test_names_and_generated_tests_that_nobody_knew_are_not_held_against_the_hubs_rows(tmp_path):
    file = ROWS / "codecontests" / "test_165.jsonl.gz"
    with gzip.open(file, "rt", encoding="utf-8") as text:
        contests = [json.loads(line) for line in text]
    for row in contests:
        row["name"] = f"1575_{row['name']}"
        row["generated_tests"] = {"input": ["1\n"], "output": ["1\n"]}
    assert len(load_frozen("codecontests", "test", file_of(tmp_path / "rows.jsonl", *contests))) == 165
    contests[7]["public_tests"]["output"][0] += " 0"
    with pytest.raises(ManifestError, match=r"1 \(1575_test_007\) new or changed, 1 "):
        load_frozen("codecontests", "test", file_of(tmp_path / "rows.jsonl", *contests))
