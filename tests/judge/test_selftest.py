"""The self-test, what happens if it fails, and the judge from the shell."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from lib.judge import SelfTestError, require_self_test
from lib.judge.__main__ import main
from lib.judge.conformance.selftest import GALLERY, self_test

ROOT = Path(__file__).resolve().parents[2]
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


def test_this_machines_judge_passes(judge):
    wrong = [(exhibit.tries, verdict) for exhibit, verdict, right in self_test(judge) if not right]
    assert wrong == []
    require_self_test(judge)


class Generous:
    """A judge that accepts every program."""

    isolation = "none at all"

    def __init__(self, judge):
        self.judge = judge

    def judge_many(self, pairs):
        return [replace(v, accepted=True, error_type="success") for v in self.judge.judge_many(pairs)]


def test_a_judge_that_pays_cheats_is_turned_away(judge):
    with pytest.raises(SelfTestError, match="equal to everything: success"):
        require_self_test(Generous(judge))


def test_the_gallery_holds_honest_wrong_and_cheating_programs_of_both_kinds():
    assert {exhibit.kind for exhibit in GALLERY} == {"stdio", "function"}
    assert sum(exhibit.endings == ("success",) for exhibit in GALLERY) == 2
    assert len(GALLERY) >= 20


@pytest.fixture
def files(tmp_path):
    program, problem = tmp_path / "program.py", tmp_path / "problem.json"
    program.write_text("print(int(input()) + 1)\n")
    problem.write_text(json.dumps({"tests": [{"input": "1\n", "output": "2\n"}, {"input": "5\n", "output": "6\n"}]}))
    return str(program), str(problem)


def test_one_program_from_the_shell(files):
    done = subprocess.run([sys.executable, "-m", "lib.judge", *files], capture_output=True, text=True)
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["accepted"], verdict["passed"]) == (0, True, 2)


def test_a_program_that_is_not_accepted_ends_with_status_1(files, tmp_path, capsys):
    (tmp_path / "program.py").write_text("print(2)")
    assert main([*files]) == 1
    assert json.loads(capsys.readouterr().out)["error_type"] == "wrong_answer"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tests": []}', '{"tests": [{}]}', '{"tests": [], "limit": 3}'])
def test_what_is_no_problem_ends_with_status_2_and_its_reason(files, tmp_path, capsys, text):
    (tmp_path / "problem.json").write_text(text)
    assert main([*files]) == 2
    assert capsys.readouterr().err.startswith("no verdict: ")


def test_the_self_test_from_the_shell(capsys):
    assert main(["--self-test"]) == 0
    assert capsys.readouterr().out.count("right  ") == len(GALLERY)


@pytest.fixture
def public():
    """A folder with lib that everybody may read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(ROOT / "lib", f"{folder}/lib", ignore=shutil.ignore_patterns("__pycache__"))
        yield folder


def python_for_everybody() -> str:
    """A Python that an ordinary user may run too: that of these tests may lie in a home folder."""
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        recent = "import sys; sys.exit(sys.version_info < (3, 11))"
        try:
            if subprocess.run([python, "-c", recent], capture_output=True, cwd="/", **NOBODY).returncode == 0:
                return python
        except OSError:
            pass
    pytest.skip("no Python 3.11 here that an ordinary user may run")


@pytest.mark.skipif(os.getuid() != 0, reason="these tests run as an ordinary user already")
@pytest.mark.parametrize("isolation", ["namespaces", "none"])
def test_the_self_test_as_an_ordinary_user(public, isolation):
    command = [python_for_everybody(), "-m", "lib.judge", "--self-test", "--isolation", isolation]
    done = subprocess.run(command, capture_output=True, text=True, cwd=public, env={}, **NOBODY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0].endswith("started by an ordinary user")
    assert done.stdout.count("right  ") == len(GALLERY)


@pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bubblewrap here; the judge does without")
def test_the_self_test_inside_bubblewrap():
    around = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    command = [*around, sys.executable, "-m", "lib.judge", "--self-test"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.stderr.startswith("bwrap: "):
        pytest.skip(f"bubblewrap does not work here: {done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("right  ") == len(GALLERY)
