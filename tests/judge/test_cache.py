"""The cache on disk: kept between judges, safe between processes, of no effect when it is damaged."""

import json
import sqlite3
import subprocess
import sys

import pytest
from judged import DOUBLE, DOUBLED, SQUARE, stdio

from lib.judge import Judge
from lib.judge.host.cache import VerdictCache
from lib.judge.verdict import TestResult, Verdict

pytest.importorskip("diskcache", reason="the package diskcache is not installed")
PAIRS = [(DOUBLED, DOUBLE), ("print(3)", DOUBLE), ("def f(x): return 3 * x", SQUARE), ("def f(x) 3", SQUARE)]


def judged(folder, pairs=PAIRS, **options) -> tuple[list[Verdict], int]:
    with Judge(workers=1, cache=folder, **options) as judge:
        return judge.judge_many(pairs), judge.stats()["cache_hits"]


def test_another_judge_finds_what_one_has_judged(tmp_path):
    first, hits = judged(tmp_path)
    again, found = judged(tmp_path)
    assert again == first
    assert (hits, found) == (0, 4)


def test_another_problem_limit_or_rule_is_another_entry(tmp_path):
    judged(tmp_path)
    assert judged(tmp_path, strict=True)[1] == 0
    assert judged(tmp_path, [(DOUBLED + " ", DOUBLE), (DOUBLED, stdio(("1\n", "2\n")))])[1] == 0


def test_a_judge_with_other_sources_finds_nothing(tmp_path, monkeypatch):
    judged(tmp_path)
    monkeypatch.setattr("lib.judge.host.cache.judge_version", lambda: b"other")
    assert judged(tmp_path)[1] == 0


VERDICT = Verdict(True, 1.0, "success", 1, 1, 0.5, (TestResult("success", 0.5, "", "42"),))


def test_a_verdict_is_kept_as_it_was(tmp_path):
    cache = VerdictCache(tmp_path)
    cache.put(b"key", VERDICT)
    assert cache.get(b"key", 1) == VERDICT
    assert cache.get(b"key", 2) is None  # of another number of tests
    assert cache.get(b"yek", 1) is None


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("42", "43"),
        lambda text: text[:-1],
        lambda text: text[64:],
        lambda text: "",
        lambda text: json.dumps({"accepted": True}),
        lambda text: b"\x80\x04.",
        lambda text: 7,
    ],
)
def test_a_poisoned_entry_is_ignored(tmp_path, edit):
    cache = VerdictCache(tmp_path)
    cache.put(b"key", VERDICT)
    entries = cache._entries
    entries.set(b"key".hex(), edit(entries.get(b"key".hex())))
    assert cache.get(b"key", 1) is None
    cache.put(b"key", VERDICT)
    assert cache.get(b"key", 1) == VERDICT


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return exec, ("raise SystemExit('opened')",)

    cache = VerdictCache(tmp_path)
    cache._entries.set(b"key".hex(), Bomb())
    assert cache.get(b"key", 1) is None


def test_an_entry_under_the_name_of_another_is_ignored(tmp_path):
    cache = VerdictCache(tmp_path)
    cache.put(b"one", VERDICT)
    cache._entries.set(b"two".hex(), cache._entries.get(b"one".hex()))
    assert cache.get(b"two", 1) is None


def test_a_damaged_folder_costs_nothing_but_time(tmp_path):
    first, _ = judged(tmp_path)
    for path in tmp_path.glob("cache.db*"):
        path.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(tmp_path / "cache.db").execute("select * from Cache")
    again, hits = judged(tmp_path)
    assert [v.error_type for v in again] == [v.error_type for v in first]
    assert hits == 0


def test_several_processes_may_share_a_folder(tmp_path):
    script = (
        "import sys; from lib.judge.host.cache import VerdictCache; from tests_verdict import V\n"
        "c = VerdictCache(sys.argv[1])\n"
        "for n in range(200): c.put(b'%d' % (n % 50), V)\n"
        "print(sum(c.get(b'%d' % n, 1) == V for n in range(50)))"
    )
    (tmp_path / "tests_verdict.py").write_text(
        "from lib.judge.verdict import TestResult, Verdict\n"
        "V = Verdict(True, 1.0, 'success', 1, 1, 0.5, (TestResult('success', 0.5, '', '42'),))\n"
    )
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{script}",
        str(tmp_path / "c"),
    ]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["50\n"] * 3
