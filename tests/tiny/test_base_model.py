"""The tiny base model: its tokenizer, its size, a few real steps of its training, and the committed one."""

import json

import pytest
import torch
from tokenizers import Tokenizer

from lib.judge.answers import extract
from lib.policy.generation import generate
from lib.policy.models import load_policy, load_tokenizer
from lib.policy.prompts import answer, messages
from lib.problems import load_problems
from lib.runs.paths import root
from lib.tiny.base_model import CHAT_TEMPLATE, CONTEXT, SPECIAL, new_model, train_base_model, train_tokenizer
from lib.tiny.corpus import pairs

COMMITTED = root() / "data" / "tiny" / "base_model"
PROGRAM = "n = int(input())\na = list(map(int, input().split()))\nprint(sum(a) if a else -128)\n"


@pytest.fixture(scope="module")
def corpus():
    return list(pairs(600, seed=0))


@pytest.fixture(scope="module")
def tokenizer(corpus):
    return train_tokenizer([f"{prompt}\n{answer(program)}" for prompt, program in corpus])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("base")
    curve = train_base_model(path / "model", steps=20, seed=0, scratch=path / "scratch", batch_size=8)
    return path / "model", curve


def test_any_text_comes_back_from_its_tokens(tokenizer):
    for text in (PROGRAM, "ä ≤ 5\t#\n\n    pass", "```python\nprint(1)\n```"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_digits_are_tokens_of_their_own_so_that_numbers_can_be_copied(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("sum of 128 and -512")["input_ids"])
    assert [token for token in tokens if any(map(str.isdigit, token))] == list("128512")


def test_a_conversation_is_written_with_marks_that_are_single_tokens(tokenizer):
    chat = [{"role": "user", "content": "add"}]
    asked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert tokenizer.decode(asked) == "<|im_start|>user\nadd<|im_end|>\n<|im_start|>assistant\n"
    marks = [tokenizer.convert_tokens_to_ids(mark) for mark in SPECIAL]
    assert [asked.count(mark) for mark in marks] == [0, 2, 1]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (marks[0], marks[2])
    assert tokenizer.decode(marks, skip_special_tokens=True) == ""


def test_the_words_of_the_world_take_few_tokens(tokenizer, corpus):
    lengths = [len(tokenizer(f"{prompt}\n{answer(program)}")["input_ids"]) for prompt, program in corpus]
    assert max(lengths) < CONTEXT - 50, "room for the chat's marks"
    assert sum(lengths) / len(lengths) < 75
    assert len(tokenizer) <= 1536


def test_a_new_model_is_a_qwen2_of_about_two_million_weights_that_repeats_with_the_seed(tokenizer):
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(new_model(tokenizer))
    model, again = models
    assert model.config.model_type == "qwen2"
    assert 1.5e6 < model.num_parameters() < 2.5e6
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_a_saved_tokenizer_cuts_text_as_it_did_in_training(trained, tokenizer, corpus):
    """AutoTokenizer puts another pre-tokenizer into a qwen2 folder unless it is kept from it."""
    path, _ = trained
    saved = Tokenizer.from_file(str(path / "tokenizer.json"))
    for loaded in (load_tokenizer(path), load_tokenizer(COMMITTED)):
        own = saved if loaded.name_or_path == str(path) else Tokenizer.from_file(str(COMMITTED / "tokenizer.json"))
        for prompt, program in corpus[:50]:
            assert loaded(prompt)["input_ids"] == own.encode(prompt).ids
            assert loaded(program)["input_ids"] == own.encode(program).ids


def test_tokens_span_words_but_neither_clauses_nor_lines(tokenizer):
    tokens = [tokenizer.decode([i]) for i in range(len(tokenizer))]
    assert any(" " in token.strip() for token in tokens), "no superwords at all"
    assert not any("\n" in token[:-1].strip(" ") or ", " in token[:-2] for token in tokens)


def test_a_few_steps_of_training_lower_the_loss_and_leave_a_complete_policy(trained):
    path, curve = trained
    assert curve.loss.iloc[-1] < curve.loss.iloc[0] - 0.3
    model, tokenizer = load_policy(path, device="cpu"), load_tokenizer(path)
    assert tokenizer.chat_template == CHAT_TEMPLATE
    [[one]] = generate(model, tokenizer, [[{"role": "user", "content": "add"}]], max_new_tokens=4)
    assert one.tokens > 0
    assert sum(file.stat().st_size for file in path.iterdir()) < 10e6
    assert "/" not in json.loads((path / "config.json").read_text()).get("_name_or_path", "")


def test_training_again_with_the_same_seed_gives_the_same_weights(trained, tmp_path):
    path, _ = trained
    train_base_model(tmp_path / "model", steps=20, seed=0, scratch=tmp_path, batch_size=8)
    files = ["model.safetensors", "tokenizer.json", "config.json"]
    assert all((tmp_path / "model" / name).read_bytes() == (path / name).read_bytes() for name in files)


@pytest.fixture(scope="module")
def committed():
    if not COMMITTED.is_dir():
        pytest.skip("data/tiny/base_model has not been made: notebooks/00_tiny_world.ipynb does it")
    return load_policy(COMMITTED, device="cpu"), load_tokenizer(COMMITTED)


def test_the_committed_model_is_a_small_qwen2_with_the_chat_template_of_the_module(committed):
    model, tokenizer = committed
    assert model.config.model_type == "qwen2"
    assert 1e6 < model.num_parameters() < 3e6
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert sum(file.stat().st_size for file in COMMITTED.iterdir()) < 12e6
    assert {file.suffix for file in COMMITTED.iterdir()} <= {".json", ".jinja", ".safetensors"}


def test_the_committed_model_answers_problems_with_a_program_in_a_block(committed):
    chats = [messages(problem) for problem in load_problems("tiny_contests", "valid")[:32]]
    written = [one for [one] in generate(*committed, chats, max_new_tokens=160)]
    assert sum(extract(one.text).format_ok for one in written) > 28
    assert sum(one.truncated for one in written) < 4
