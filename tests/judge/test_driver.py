"""The driver in action: a stand-in for SandboxFusion runs what it is sent, as the server does, in a new folder."""

import base64
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from judged import DOUBLE, function, stdio
from recorded_server import CASES, serve
from test_sandbox_fusion import remote

from lib.judge.conformance.judge_checks import without_times

LEFT: list[str] = []  # files after the last run


def run_here(body: dict) -> tuple[int, dict]:
    """Status and answer of /run_code, by the server's own steps."""
    with tempfile.TemporaryDirectory(prefix="judge-test-") as folder:
        for name, content in body["files"].items():
            (Path(folder) / name).write_bytes(base64.b64decode(content))
        (Path(folder) / "code.py").write_text(body["code"])
        done = subprocess.run([sys.executable, f"{folder}/code.py"], cwd=folder, capture_output=True, timeout=60)
        LEFT[:] = sorted(path.name for path in Path(folder).iterdir())
        wanted = [Path(folder) / name for name in body["fetch_files"] if (Path(folder) / name).is_file()]
        ran = {"status": "Finished", "return_code": done.returncode, "stderr": done.stderr.decode()}
        files = {path.name: base64.b64encode(path.read_bytes()).decode() for path in wanted}
        return 200, {"status": "Success" if done.returncode == 0 else "Failed", "run_result": ran, "files": files}


@pytest.fixture(scope="module")
def there():
    with serve(run_here) as server, remote(server, workers=2) as judge:
        yield judge


def test_the_driver_gives_the_verdicts_of_this_machine(there, judge):
    assert [*map(without_times, there.judge_many(CASES.values()))] == [
        *map(without_times, judge.judge_many(CASES.values()))
    ]


def test_outputs_of_a_quick_pass_that_are_not_right_are_run_alone():
    """A program that counts its runs is wrong from the second test on, unless each has a process of its own."""
    counts = "import json\njson.runs = getattr(json, 'runs', 0) + 1\nprint(2 * int(input()) * json.runs)"
    with serve(run_here) as server, remote(server, workers=1) as there:
        before = len(server.seen)
        assert there.judge(counts, DOUBLE).accepted
        assert len(server.seen) == before + 2, "what the judge wanted was not what the driver supposed"


def test_batches_behind_one_that_has_to_be_run_again():
    counts = "import json\njson.runs = getattr(json, 'runs', 0) + 1\nprint(2 * int(input()) * json.runs)"
    problem = stdio(*((str(n), str(2 * n)) for n in range(1, 61)), time_limit=5.0)
    with serve(run_here) as server, remote(server, workers=1) as there:
        assert there.judge(counts, problem).accepted


def test_a_function_that_ends_its_process_again_and_again_is_asked_for_every_case(there):
    problem = function("\n".join(f"assert f({n}) == {n}" for n in range(4)), "assert f(4) == 4")
    verdict = there.judge("import os\ndef f(x):\n    return os._exit(0) if x % 2 else x", problem)
    endings = [test.error_type for test in verdict.tests]
    assert endings == ["success", "runtime_error", "success", "runtime_error", "success"]


def test_outputs_that_the_server_would_have_to_hold_end_somewhere(there):
    verdict = there.judge("import os\nos.write(1, b' ' * (15 << 20))\nprint(2 * int(input()))", DOUBLE)
    assert [test.detail for test in verdict.tests] == ["", "", "", "", "output limit"]
    assert verdict.passed == 4


def test_the_submission_does_not_stay_on_the_disk(there):
    """Where there are no namespaces, programs may read it: it is taken away before one starts."""
    LEFT.clear()
    assert there.judge("print(2 * int(input()))  # once", DOUBLE).accepted
    assert LEFT == ["code", "code.py", "result"]
