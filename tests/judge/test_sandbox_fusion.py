"""The SandboxFusion backend against what a real server answered (recorded_server.py), and against servers that fail."""

import re
import socket
import subprocess
import sys
import threading
import zlib

import pytest
from judged import ANSWER, DOUBLE, DOUBLED, function
from recorded_server import CASES, FAULTS, readable, recording, replay, serve

from lib.judge import IsolationError, Judge, ServerError
from lib.judge.conformance.judge_checks import without_times
from lib.judge.host.stream import ATTEMPTS
from lib.judge.remote import sandbox_fusion, servers

ENDINGS = {
    "accepted": ("success", 5, 5),
    "wrong answer": ("wrong_answer", 1, 2),
    "syntax error": ("syntax_error", 0, 5),
    "runtime error": ("runtime_error", 0, 5),
    "timeout": ("timeout", 1, 2),
    "memory limit": ("runtime_error", 0, 5),
    "big output": ("success", 1, 1),
    "function": ("success", 3, 3),
    "wrong function": ("wrong_answer", 2, 3),
    "function that leaves": ("runtime_error", 3, 4),
}


@pytest.fixture
def server():
    with replay() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(servers, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(servers, "LONGEST_PAUSE", 0.05)


def remote(*servers, **options) -> Judge:
    urls = [server if isinstance(server, str) else server.url for server in servers]
    return Judge(backend="sandbox_fusion", url=urls, **options)


def nobody() -> str:
    """The address of a server that is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_answer_gives_the_verdict_of_this_machine(case, server, judge):
    with remote(server, workers=1) as there:
        verdict = there.judge(*CASES[case])
    assert (verdict.error_type, verdict.passed, verdict.total) == ENDINGS[case], verdict.feedback
    assert without_times(verdict) == without_times(judge.judge(*CASES[case]))
    assert verdict.judge_time > 0


def test_every_recorded_request_is_still_sent_and_no_other(server):
    with remote(server, workers=2) as there:
        verdicts = there.judge_many(CASES.values())
    assert [verdict.error_type for verdict in verdicts] == [ENDINGS[case][0] for case in CASES], "in order"
    recorded = [request for request, _, _ in recording()["runs"]]
    sent = [readable(body) for body in server.seen]
    assert sorted(map(repr, sent)) == sorted(map(repr, recorded)), "record again, see recorded_server.py"


def test_expected_outputs_stay_here(server):
    with remote(server, workers=1) as there:
        there.judge(*CASES["wrong answer"])
    sent = [repr(readable(body)) for body in server.seen]
    assert "swordfish" in sent[-1], "the program's own word"
    assert not any("salmon" in request for request in sent)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_server_is_retried(fault, server):
    with remote(server, workers=1) as there:
        server.faults = [recording()["faults"][fault][1:]]
        assert there.judge(*CASES["accepted"]).accepted
        assert there.stats()["retries"] == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_an_api_error_with_the_reason(fault, server):
    with remote(server, workers=1) as there:
        server.faults = [recording()["faults"][fault][1:]] * ATTEMPTS
        verdict = there.judge(*CASES["accepted"])
        assert verdict.error_type == "api_error"
        assert server.url in verdict.feedback
        assert there.judge(*CASES["accepted"]).accepted, "nothing of it was remembered"


@pytest.mark.parametrize(
    "answer", [{}, [], {"status": "Success", "run_result": {"status": "Finished", "return_code": 0}, "files": {}}]
)
def test_answers_that_make_no_sense_are_faults(answer, server):
    with remote(server, workers=1) as there:
        server.faults = [(200, answer)]
        assert there.judge(*CASES["accepted"]).accepted
        assert there.stats()["retries"] == 1


@pytest.mark.parametrize("result", ["AAAA", "not base64", "", "eJwDAAAAAAE="])
def test_results_that_are_no_frames_are_faults(result, server):
    answer = {"status": "Success", "run_result": {"status": "Finished", "return_code": 0}, "files": {"result": result}}
    with remote(server, workers=1) as there:
        server.faults = [(200, answer)]
        assert there.judge(*CASES["accepted"]).accepted


def test_a_driver_that_failed_is_compiled_again(server):
    """The server may have been replaced by one with another Python."""
    with remote(server, workers=1) as there:
        server.faults = [recording()["faults"]["driver killed"][1:]]
        assert there.judge(*CASES["accepted"]).accepted
    assert sum("sources" in body["files"] for body in server.seen) == 2


def test_the_result_of_a_driver_that_was_killed_is_not_believed(server):
    """A program that ended it could have written a result of its own."""
    runs = recording()["runs"]
    forged = next(answer for request, _, answer in runs if DOUBLED in request["files"].get("submission", ()))
    forged["run_result"]["return_code"] = -9
    with remote(server, workers=1) as there:
        server.faults = [(200, forged)] * ATTEMPTS
        assert there.judge(*CASES["accepted"]).error_type == "api_error"


def test_isolation_is_what_the_server_says(server):
    with remote(server) as there:
        assert re.fullmatch(r"SandboxFusion with Python 3\.\d+\.\d+, .*seccomp.*rlimits.*", there.isolation)


def test_two_servers_share_the_work(server):
    with replay() as other, remote(server, other, workers=2) as there:
        assert all(verdict.error_type != "api_error" for verdict in there.judge_many(CASES.values()))
        for one in (server, other):
            assert len(one.seen) > 4, "beyond the start"


def test_the_work_of_a_dead_server_goes_to_the_others(server, monkeypatch):
    monkeypatch.setattr(servers, "FIRST_PAUSE", 30.0)
    monkeypatch.setattr(servers, "LONGEST_PAUSE", 30.0)
    with replay() as dying:
        there = remote(server, dying, workers=2)
        dying.shutdown()
        dying.server_close()
        with there:
            verdicts = there.judge_many(CASES.values())
    assert [verdict.error_type for verdict in verdicts] == [ENDINGS[case][0] for case in CASES]
    assert there.stats()["retries"] >= 1


def test_a_server_that_is_dead_at_the_start_is_a_warning_while_others_live(server, monkeypatch):
    monkeypatch.setattr(servers, "FIRST_PAUSE", 30.0)
    monkeypatch.setattr(servers, "LONGEST_PAUSE", 30.0)
    with pytest.warns(UserWarning, match="other servers do its work"):
        there = remote(nobody(), server)
    with there:
        assert there.judge(*CASES["accepted"]).accepted


def test_a_silent_server_is_given_up(server, monkeypatch):
    with remote(server, workers=1) as there:
        monkeypatch.setattr(servers, "run_seconds", lambda request: 0.0)
        monkeypatch.setattr(servers, "PATIENCE", 0.2)
        silence = threading.Event()
        server.answer = lambda body: (silence.wait(20), (200, {}))[1]
        assert there.judge(*CASES["accepted"]).error_type == "api_error"
        silence.set()


def test_without_a_server_the_error_says_what_to_do():
    with pytest.raises(ServerError, match=r"Start one .*`curl <url>/v1/ping`"):
        remote(nobody())


def test_what_is_no_sandbox_fusion_is_refused():
    with serve(lambda body: (404, "not found")) as web, pytest.raises(ServerError, match="status 404"):
        remote(web)


def test_a_server_that_can_not_isolate_says_so(server, monkeypatch):
    started = servers.frames.Bytes()
    servers.frames.send(started, {"error": "unshare: Operation not permitted", "python": "3"})
    result = zlib.compress(started.getvalue())
    known = servers.run_code

    def run(session, url, code, files, wanted, seconds):
        return result if wanted == "result" else known(session, url, code, files, wanted, seconds)

    monkeypatch.setattr(servers, "run_code", run)
    with pytest.raises(IsolationError, match=r"Operation not permitted.*isolation=\"none\""):
        remote(server)


@pytest.mark.parametrize("url", [None, [], "127.0.0.1:8080", ["http://a", 3]])
def test_an_address_is_needed(url):
    with pytest.raises(ValueError, match=r"such as http://127\.0\.0\.1:8080"):
        Judge(backend="sandbox_fusion", url=url)


def test_only_the_remote_backend_takes_an_address():
    with pytest.raises(ValueError, match="backend must be local"):
        Judge(url="http://127.0.0.1:8080")
    with pytest.raises(ValueError, match="backend must be local"):
        Judge(backend="docker")


def test_verdicts_are_cached_apart_from_those_of_this_machine(server, tmp_path):
    for hits in (0, 1):
        with remote(server, workers=1, cache=tmp_path) as there:
            assert there.judge(*CASES["accepted"]).accepted
            assert there.stats()["cache_hits"] == hits
    with Judge(workers=1, cache=tmp_path) as here:
        here.judge(DOUBLED, DOUBLE)
        assert here.stats()["cache_hits"] == 0


def test_what_needs_no_run_is_not_sent(server):
    with remote(server, workers=1) as there:
        before = len(server.seen)
        assert there.judge("", ANSWER).error_type == "syntax_error"
        with pytest.raises(ValueError, match="no tests"):
            there.judge("print(42)", function())
        assert len(server.seen) == before


def test_a_judge_of_this_machine_needs_no_requests():
    program = "import sys\nsys.modules['requests'] = None\nimport lib.judge\nlib.judge.Judge(workers=1).close()"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=sandbox_fusion.__file__.partition("/lib/judge")[0])
