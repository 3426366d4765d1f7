"""The tiny world: small versions of CodeContests, HumanEval and MBPP with the same row schemas, made from one seed.

How they depart from the real sets: statements are one or two sentences without samples; a problem is a composition of
one to three list operations and an ending; no composition of an evaluation problem occurs in train; expected outputs
are computed, so they are right; large inputs are shared between problems, so that the files stay small.

    python -m lib.tiny.world            writes data/tiny/*/*.jsonl.xz and data/tiny/SHA256SUMS
"""

import hashlib
import lzma
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lib.runs.paths import json_lines, root
from lib.tiny.operations import ENDINGS, GUARDS, OPERATION, OPERATIONS
from lib.tiny.programs import FLAWS, NAMES, Task, draft, function, program, statement

SEED = 20261121
FOLDER = root() / "data" / "tiny"
# (set, split): how many problems of depth 1, 2, 3. The evaluation splits have the sizes of the real sets.
SIZES = {
    ("contests", "test"): (8, 87, 70),
    ("contests", "valid"): (6, 61, 50),
    ("contests", "valid_big"): (14, 266, 220),
    ("humaneval", "test"): (8, 96, 60),
    ("mbpp", "test"): (10, 120, 70),
    ("mbpp", "train"): (6, 218, 150),
    ("contests", "train"): (32, 1068, 1100),
}
SOLVED = (1.0, 0.7, 0.2)  # share of train problems of depth 1, 2, 3 that come with solutions, if no part is hard
SOLVED_HARD = 0.005  # the same where one is
LARGE = 12_000  # numbers in a large input: seconds for a quadratic program, milliseconds for a linear one
TIME_LIMIT = 0.05  # s of CPU; linear programs need a quarter of it at most, quadratic ones twice as much on half a list
PYTHON2, PYTHON3 = 1, 3  # the hub's language codes


def build() -> dict[tuple[str, str], list[dict]]:
    """All rows of all sets. Takes about 20 s."""
    rng = random.Random(SEED)
    taken: set[tuple[str, ...]] = set()
    rows = {}
    for (name, split), counts in SIZES.items():
        held_out, easy = split != "train", (name, split) == ("mbpp", "train")
        tasks = [task for depth, n in enumerate(counts, 1) for task in _tasks(rng, depth, n, held_out, easy, taken)]
        rng.shuffle(tasks)
        make = {"contests": _contest_row, "humaneval": _humaneval_row, "mbpp": _mbpp_row}[name]
        rows[name, split] = [make(task, split, i, rng) for i, task in enumerate(tasks)]
    return rows


def write(folder: Path = FOLDER) -> dict[str, str]:
    """Writes every set to `folder` and returns {file: sha256 of its uncompressed text}, also written as SHA256SUMS."""
    sums = {}
    for (name, split), rows in build().items():
        text = json_lines(rows).encode()
        path = folder / name / f"{split}.jsonl.xz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzma.compress(text, preset=6))
        sums[f"{name}/{split}.jsonl"] = hashlib.sha256(text).hexdigest()
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {file}\n" for file, digest in sorted(sums.items())))
    return sums


def is_held_out(composition: tuple[str, ...]) -> bool:
    """Whether a composition belongs to the evaluation sets, by hash: two in five do, and train never holds them."""
    return hashlib.sha256(" ".join(composition).encode()).digest()[0] % 5 < 2


def sample_task(rng: random.Random, depth: int) -> Task:
    """A random composition, not checked for being a sensible problem."""
    chosen = rng.choices(OPERATIONS, k=depth)
    steps = tuple((o.name, rng.choice(o.constants)) for o in chosen)
    return Task(steps, rng.choice(ENDINGS).name, rng.choice(GUARDS))


def _tasks(rng: random.Random, depth: int, n: int, held_out: bool, easy: bool, taken: set) -> Iterator[Task]:
    """`n` sensible tasks that are not in `taken`, which grows by them; `easy`: none with a hard part."""
    made = 0
    for _ in range(100 * n + 20_000):
        if made == n:
            return
        task = sample_task(rng, depth)
        if task.composition in taken or is_held_out(task.composition) != held_out or (easy and task.hard):
            continue
        if is_sensible(task):
            taken.add(task.composition)
            made += 1
            yield task
    raise ValueError(f"only {made} of {n} sensible compositions of depth {depth} are left: ask for fewer in SIZES")


def is_sensible(task: Task) -> bool:
    """Whether every step matters and the answer depends on the input, so that trivial programs pass few tests.

    On 16 random lists, leaving out any one step changes at least 6 answers, no answer comes more than 3 times, and none
    of the plain functions of the untouched list (its ends, length, sum, extremes) is right more than 3 times.
    """
    rng = random.Random(str(task))
    inputs = [numbers(rng) for _ in range(16)]
    answers = [_answer(task, a) for a in inputs]
    if Counter(answers).most_common(1)[0][1] > 3:
        return False
    for plain in (lambda a: a[0], lambda a: a[-1], len, sum, max, min):
        if sum(str(plain(a)) == answer for a, answer in zip(inputs, answers, strict=True)) > 3:
            return False
    for i in range(len(task.steps)):
        shorter = Task(task.steps[:i] + task.steps[i + 1 :], task.ending, task.guard)
        if sum(_answer(shorter, a) != b for a, b in zip(inputs, answers, strict=True)) < 6:
            return False
    return True


def numbers(rng: random.Random) -> list[int]:
    """A small random list: 7 to 12 integers, with signs, zeros and repeats."""
    top = rng.choice((9, 20, 50))
    pool = [rng.randint(-top // 2, top) for _ in range(rng.randint(5, 9))]
    return [rng.choice(pool) for _ in range(rng.randint(7, 12))]


def _answer(task: Task, a: list[int]) -> str:
    answer = task.solve(list(a))
    return " ".join(map(str, answer)) if isinstance(answer, list) else str(answer)


def _fresh_inputs(task: Task, rng: random.Random, n: int, seen: Counter) -> list[list[int]]:
    """`n` small inputs with answers as different as can be from one another, `seen` and the input's ends."""
    chosen: list[list[int]] = []
    for tries in range(1000):
        if len(chosen) == n:
            break
        a = numbers(rng)
        answer = _answer(task, a)
        echo = answer in (str(a[0]), str(a[-1]), str(len(a)))
        if seen[answer] + echo <= tries // 100:
            seen[answer] += 1
            chosen.append(a)
    return chosen


def _edge_inputs(task: Task, rng: random.Random) -> list[list[int]]:
    """The empty list, and the shortest of some lists that is answered otherwise."""
    short = ([rng.randint(-9, 20) for _ in range(1 + tries // 4)] for tries in range(40))
    return [[], next((a for a in short if _answer(task, a) != _answer(task, [])), [1])]


def _stdin(a: list[int]) -> str:
    return f"{len(a)}\n{' '.join(map(str, a))}\n"


def _large(i: int) -> list[int]:
    a = list(range(-LARGE // 2, LARGE // 2))
    random.Random(i).shuffle(a)
    return a


_LARGE_INPUTS = [_large(i) for i in range(3)]


def _contest_row(task: Task, split: str, i: int, rng: random.Random) -> dict:
    """A row in the schema of deepmind/code_contests: 2 public, 6 private (2 edge cases) and 6 generated tests."""
    seen: Counter[str] = Counter()
    edges = _edge_inputs(task, rng)
    seen.update(_answer(task, a) for a in edges)
    public = _fresh_inputs(task, rng, 2, seen)
    private = edges + _fresh_inputs(task, rng, 4, seen)
    generated = _fresh_inputs(task, rng, 6, seen)
    large = rng.choice(_LARGE_INPUTS)
    if task.slow_written and len(_answer(task, large)) < 200:
        generated[0] = large
    depth = len(task.steps)
    solved = split == "train" and rng.random() < (SOLVED_HARD if task.hard else SOLVED[depth - 1])
    right, wrong = _solutions(task, rng)
    return {
        "name": f"{split}_{i:04d}. {' '.join(task.composition)}",
        "description": statement(task, rng),
        "public_tests": _tests(task, public),
        "private_tests": _tests(task, private),
        "generated_tests": _tests(task, generated),
        "source": 0,
        "difficulty": 6 + depth,  # A, B, C in the hub's enumeration
        "solutions": right if solved else {"language": [], "solution": []},
        "incorrect_solutions": wrong,
        "cf_contest_id": 0,
        "cf_index": "",
        "cf_points": 0.0,
        "cf_rating": 0,
        "cf_tags": sorted({OPERATION[name].tag for name, _ in task.steps}),
        "is_description_translated": False,
        "untranslated_description": "",
        "time_limit": {"seconds": int(TIME_LIMIT), "nanos": round(TIME_LIMIT % 1 * 1e9)},
        "memory_limit_bytes": 256 * 2**20,
        "input_file": "",
        "output_file": "",
    }


def _tests(task: Task, inputs: list[list[int]]) -> dict:
    return {"input": [_stdin(a) for a in inputs], "output": [_answer(task, a) + "\n" for a in inputs]}


def _solutions(task: Task, rng: random.Random) -> tuple[dict, dict]:
    """What people submitted: (accepted, rejected), each {language, solution}.

    As in the real set a few of the accepted ones are not correct, and some are written in Python 2.
    """
    right: dict = {"language": [], "solution": []}
    wrong: dict = {"language": [], "solution": []}
    for _ in range(3):
        mislabelled = 0.3 if rng.random() < 0.06 else 0.0
        choice, _ = draft(task, rng, lambda flaw, _, odds=mislabelled: odds if flaw in ("slow", "unguarded") else 0.0)
        right["language"].append(PYTHON3)
        right["solution"].append(program(task, choice))
    for _ in range(40):
        choice, flaws = draft(task, rng, lambda flaw, _: 0.25 if flaw in FLAWS else 0.0)
        if flaws and len(wrong["solution"]) < 3:
            wrong["language"].append(PYTHON2 if choice.python2 else PYTHON3)
            wrong["solution"].append(program(task, choice))
    return right, wrong


def _examples(task: Task, rng: random.Random, n: int) -> list[tuple[list[int], object]]:
    seen: Counter[str] = Counter([_answer(task, [])])
    inputs = [[], *_fresh_inputs(task, rng, n - 1, seen)]
    return [(a, task.solve(list(a))) for a in inputs]


def _humaneval_row(task: Task, split: str, i: int, rng: random.Random) -> dict:
    """A row in the schema of openai/openai_humaneval."""
    name = rng.choice(NAMES)
    choice, _ = draft(task, rng, lambda *_: 0.0)
    checks = [f"    assert candidate({a}) == {answer!r}\n" for a, answer in _examples(task, rng, 9)]
    return {
        "task_id": f"TinyEval/{i}",
        "prompt": statement(task, rng, "humaneval", name),
        "canonical_solution": function(task, choice, name).partition("\n")[2],
        "test": "def check(candidate):\n" + "".join(checks),
        "entry_point": name,
    }


def mbpp_asserts(name: str, examples: list[tuple[list[int], object]]) -> list[str]:
    return [f"assert {name}({a}) == {answer!r}" for a, answer in examples]


def _mbpp_row(task: Task, split: str, i: int, rng: random.Random) -> dict:
    """A row in the schema of google-research-datasets/mbpp (full), with the ids of MBPP's splits."""
    name = rng.choice(NAMES)
    choice, _ = draft(task, rng, lambda *_: 0.0)
    edge, *others = _examples(task, rng, 6)
    asserts = mbpp_asserts(name, [*others[:2], edge, *others[2:]])
    return {
        "task_id": {"test": 11, "train": 601}[split] + i,
        "text": statement(task, rng, "mbpp", name),
        "code": function(task, choice, name),
        "test_list": asserts[:3],
        "test_setup_code": "",
        "challenge_test_list": asserts[3:],
    }


if __name__ == "__main__":
    for file, digest in write().items():
        print(digest, file)
