"""The self-test, the gate that it makes, and the judge from the shell."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from lib.judge import SelfTestError, require_self_test
from lib.judge.__main__ import main
from lib.judge.selftest import GALLERY, self_test


def test_this_machines_judge_passes(judge):
    wrong = [(exhibit.tries, verdict) for exhibit, verdict, right in self_test(judge) if not right]
    assert wrong == []
    require_self_test(judge)


class Generous:
    """A judge that pays everybody."""

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
