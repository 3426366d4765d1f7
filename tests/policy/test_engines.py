"""The engines, the server one against a stand-in for `vllm serve` (tests/policy/completion_server.py)."""

import socket
import threading

import pytest
from completion_server import serve
from tiny_policy import make_model, make_tokenizer

from lib.policy.engines import ServerEngine, ServerError, TransformersEngine, open_engine
from lib.policy.generation import end_tokens
from lib.policy.models import load_policy, load_tokenizer
from lib.policy.prompts import messages
from lib.policy.protocols import Protocol, eval_at_1, protocol_named
from lib.problems import load_problems
from lib.runs.paths import root

CHATS = [[{"role": "user", "content": word}] for word in ("sum", "n", "Read n numbers.", "print", "x y z", "a")]


@pytest.fixture(scope="module")
def policy():
    """Random weights: it never ends by itself."""
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    return model, tokenizer


def engine(policy, server, **options) -> ServerEngine:
    model, tokenizer = policy
    end = end_tokens(model.generation_config, tokenizer)
    return ServerEngine(server.url, tokenizer, end, model="tiny", **options)


def completions(engine, protocol: Protocol, chats=CHATS, **more) -> dict:
    found = [pair for batch in engine.batches(chats, protocol, **more) for pair in batch]
    assert len(dict(found)) == len(found), "each row once"
    return dict(found)


def test_greedy_completions_of_the_server_are_those_of_the_engine_in_this_process(policy):
    with serve(*policy) as server:
        theirs = completions(engine(policy, server), eval_at_1(24))
    own = completions(TransformersEngine(*policy), eval_at_1(24))
    assert theirs == own
    assert all(one.seconds > 0 for one in theirs.values())


def test_the_base_model_answers_the_same_through_both_engines():
    path = root() / "data" / "tiny" / "base_model"
    model, tokenizer = load_policy(path), load_tokenizer(path)
    chats = [messages(problem) for problem in load_problems("tiny_contests", "valid")[:12]]
    with serve(model, tokenizer) as server:
        theirs = completions(engine((model, tokenizer), server), eval_at_1(19), chats)
    own = completions(TransformersEngine(model, tokenizer), eval_at_1(19), chats)
    assert theirs == own
    assert {one.truncated for one in own.values()} == {True, False}, "some end, some are cut off"


def test_samples_have_seeds_of_their_own_and_repeat_whatever_the_order_of_requests(policy):
    with serve(*policy) as server:
        first, again, other = (
            completions(engine(policy, server, concurrency=n), protocol_named("EVAL@3", 8, seed=seed), CHATS[:3])
            for n, seed in ((1, 5), (8, 5), (8, 6))
        )
        seeds = [request["seed"] for request in server.requests]
    assert first == again != other
    assert len(set(seeds)) == 2 * 3 * 3


def test_rows_that_are_done_are_not_asked_for(policy):
    with serve(*policy) as server:
        assert completions(engine(policy, server), eval_at_1(8), skip={0, 1, 2, 3}).keys() == {4, 5}
        assert len(server.requests) == 2
        assert completions(engine(policy, server), eval_at_1(8), skip=range(6)) == {}


def test_a_busy_server_is_asked_again_and_nothing_is_lost(policy):
    with serve(*policy, failures=(503, 429, 500, 408)) as server:
        assert len(completions(engine(policy, server), eval_at_1(8))) == len(CHATS)
        assert len(server.requests) == len(CHATS) + 4


def test_a_request_holds_every_parameter_of_the_decoding(policy):
    model, tokenizer = policy
    with serve(*policy) as server:
        completions(engine(policy, server), protocol_named("EVAL@2", 7, seed=3), CHATS[:1])
        sent = sorted(server.requests, key=lambda request: request["seed"])
    prompt = tokenizer.apply_chat_template(CHATS[0], add_generation_prompt=True, return_dict=False)
    limits = {"max_tokens": 7, "temperature": 0.8, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    ends = {"stop_token_ids": end_tokens(model.generation_config, tokenizer), "return_token_ids": True}
    same = {"model": "tiny", "prompt": prompt, **limits, **ends}
    assert sent == [same | {"seed": 3 * 1_000_003 + row} for row in (0, 1)]


def test_waits_between_attempts_grow_and_vary(policy, monkeypatch):
    """A server whose answers name no delay: many clients must not come back at once."""
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    with serve(*policy, failures=(503,) * 4, retry_after_ms=None) as server:
        completions(engine(policy, server), eval_at_1(2), CHATS[:1])
    assert waits == sorted(waits)
    assert len({wait / 2**n for n, wait in enumerate(waits)}) == 4, "jitter"


def test_no_more_requests_than_allowed_are_under_way(policy):
    with serve(*policy) as server:
        completions(engine(policy, server, concurrency=2), eval_at_1(2), CHATS * 3)
        assert server.most_at_once <= 2


def test_a_refused_request_is_not_repeated_and_its_reason_is_told(policy):
    with serve(*policy, failures=(404,) * 50) as server:
        with pytest.raises(ServerError, match=r"no answer of tiny from http.*404.*busy"):
            completions(engine(policy, server, concurrency=1), eval_at_1(8))
        assert len(server.requests) < len(CHATS)


def test_a_server_that_is_not_there_or_keeps_failing_ends_the_evaluation(policy):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = type("Nobody", (), {"url": f"http://127.0.0.1:{free.getsockname()[1]}"})
        with pytest.raises(ServerError, match=r"up to 2 attempts.*[Cc]onnection"):
            completions(engine(policy, nobody, attempts=2), eval_at_1(8))
    with (
        serve(*policy, failures=(503,) * 50) as server,
        pytest.raises(ServerError, match=r"up to 3 attempts.*503"),
    ):
        completions(engine(policy, server, attempts=3), eval_at_1(8))


NO_ANSWERS = [
    {"choices": []},
    {"choices": None},
    {"error": {"message": "out of memory"}},
    {"choices": [{"text": None, "finish_reason": "stop"}]},
    {"choices": [{"finish_reason": "stop"}]},
    {"choices": [{"index": 0, "message": None}]},
    {"choices": [{"text": "", "finish_reason": None}]},
    {"choices": [{"text": "pri", "finish_reason": "abort"}]},
    {"choices": [None]},
    [],
    b"",
    b"<html>",
]


@pytest.mark.parametrize("body", NO_ANSWERS, ids=str)
def test_an_answer_without_a_completion_is_asked_for_again_and_then_an_error_of_the_server(policy, monkeypatch, body):
    waits = []
    monkeypatch.setattr("lib.policy.engines.time.sleep", waits.append)
    with serve(*policy) as server:
        expected = completions(engine(policy, server), eval_at_1(2), CHATS[:1])
        server.failures = [body]
        assert completions(engine(policy, server), eval_at_1(2), CHATS[:1]) == expected
        server.failures = [body] * 2
        with pytest.raises(ServerError, match=r"sent 2 answers without a completion"):
            completions(engine(policy, server, attempts=2), eval_at_1(2), CHATS[:1])
    assert len(waits) == 2
    assert 0.5 <= min(waits) <= max(waits) <= 1


def test_an_empty_completion_that_the_model_ended_is_an_answer(policy):
    with serve(*policy, failures=[{"choices": [{"text": "", "finish_reason": "stop", "token_ids": []}]}]) as server:
        first = completions(engine(policy, server), eval_at_1(2), CHATS[:1])[0]
    assert first.text == ""


def test_a_server_without_token_ids_gives_text_and_a_length(policy):
    with serve(*policy, with_ids=False) as server:
        theirs = completions(engine(policy, server), eval_at_1(24))
    own = completions(TransformersEngine(*policy), eval_at_1(24))
    assert {row: (one.text, one.truncated) for row, one in theirs.items()} == {
        row: (one.text, one.truncated) for row, one in own.items()
    }


def test_a_notebook_names_its_engine_and_finds_the_model_that_a_server_serves(policy):
    assert isinstance(open_engine("transformers", "path", *policy), TransformersEngine)
    with serve(*policy) as server:
        found = open_engine(server.url, "path", *policy)
        assert found.identity == "tiny"
        assert completions(found, eval_at_1(8)) == completions(engine(policy, server), eval_at_1(8))
        with pytest.raises(ServerError, match="does not list the model it serves"):
            open_engine(f"{server.url}/elsewhere", "path", *policy)
    with pytest.raises(ValueError, match="unknown engine 'sglang'"):
        open_engine("sglang", "path", *policy)


def test_who_stops_reading_leaves_no_thread_behind(policy):
    with serve(*policy) as server:
        before = threading.active_count()
        batches = engine(policy, server, concurrency=1).batches(CHATS, eval_at_1(8))
        next(batches)
        batches.close()
        assert threading.active_count() <= before + 1, "at most the server's own, which ends with its connection"


def test_the_identity_of_a_policy_changes_with_its_weights_and_nothing_else(policy):
    model, tokenizer = policy
    other = make_model(tokenizer, seed=1)
    same = TransformersEngine(*policy).identity
    assert same == TransformersEngine(*policy).identity
    assert (
        len({same, TransformersEngine(other, tokenizer).identity, TransformersEngine(model, tokenizer, 7).identity})
        == 3
    )
