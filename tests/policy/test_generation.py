import copy

import pytest
import torch
from tiny_policy import make_model, make_tokenizer, teach

from lib.policy import generation
from lib.policy.generation import _sample, _Slots, generate, generate_batches
from lib.policy.likelihood import log_probabilities
from lib.policy.prompts import prompt_ids
from lib.policy.protocols import Protocol

PROMPTS = ["sum", "print the sum of n numbers", "n", "Read n numbers.", "print print print", "x y z", "a"]
CHATS = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]


@pytest.fixture(scope="module")
def policy():
    """Random weights, and several end tokens so that completions end at many different lengths."""
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *range(20, 40)]
    return model, tokenizer


@pytest.fixture(scope="module")
def taught():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    loss = teach(model, tokenizer, {"one": "print(1)", "two": "print(2)\nprint(2)"}, steps=150)
    assert loss < 0.1, "the model must know the two answers by heart"
    return model, tokenizer


def test_greedy_completions_are_those_of_the_library(policy):
    model, tokenizer = policy
    own = generate(model, tokenizer, CHATS, max_new_tokens=24)
    for chat, [completion] in zip(CHATS, own, strict=True):
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        written = model.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert completion.text == tokenizer.decode(written, skip_special_tokens=True)
        assert completion.tokens == len(written)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_completion_does_not_depend_on_how_the_work_is_cut_into_batches(policy, temperature):
    one, three, all_at_once = (
        generate(*policy, CHATS, max_new_tokens=24, temperature=temperature, batch_size=size) for size in (1, 3, 100)
    )
    assert one == three == all_at_once


def test_a_completion_ends_with_the_end_token_and_says_when_it_was_cut_off(taught):
    model, tokenizer = taught
    chats = [[{"role": "user", "content": word}] for word in ("two", "one")]
    two, one = (completions[0] for completions in generate(model, tokenizer, chats, max_new_tokens=60))
    assert one.text == "```python\nprint(1)\n```"
    assert two.text == "```python\nprint(2)\nprint(2)\n```"
    assert one.tokens == len(tokenizer(one.text)["input_ids"]) + 1
    assert not one.truncated
    [[cut]] = generate(model, tokenizer, chats[:1], max_new_tokens=5)
    assert cut.truncated
    assert cut.tokens == 5
    assert two.text.startswith(cut.text)


def test_samples_are_grouped_by_conversation_and_repeat_with_the_seed(policy):
    first, again, other = (
        generate(*policy, CHATS, max_new_tokens=12, temperature=1.0, samples=3, seed=seed) for seed in (1, 1, 2)
    )
    assert [len(completions) for completions in first] == [3] * len(CHATS)
    assert first == again != other
    assert len(set(first[0])) > 1


def test_tokens_are_sampled_with_the_chances_of_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0, -torch.inf])
    grid = (torch.arange(10_000) + 0.5) / 10_000  # evenly spread numbers stand for infinitely many draws
    tokens, logprobs = _sample(logits.repeat(len(grid), 1), grid)
    frequency = torch.bincount(tokens, minlength=4) / len(grid)
    assert torch.allclose(frequency, logits.softmax(-1), atol=2e-4)
    assert torch.allclose(logprobs, logits.log_softmax(-1)[tokens])
    assert _sample(torch.tensor([[-torch.inf, 0.0]]), torch.tensor([0.0]))[0] == 1


def test_many_greedy_samples_are_refused_because_they_would_be_one(policy):
    with pytest.raises(ValueError, match="temperature above 0"):
        generate(*policy, CHATS, max_new_tokens=4, samples=2)


def test_a_model_in_training_stays_in_training(policy):
    model, tokenizer = policy
    model.train()
    try:
        generate(model, tokenizer, CHATS, max_new_tokens=2, batch_size=3)
        assert model.training
    finally:
        model.eval()


def test_refilled_slots_give_the_tokens_of_the_library_one_prompt_at_a_time():
    """Long and short prompts; large weights and many end tokens, so that rows end at different lengths."""
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(10 if weight.ndim > 1 else 1)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *range(0, 320, 16)]
    chats = [[{"role": "user", "content": "print n " * (1 + 7 * (n % 4)) + chr(97 + n)}] for n in range(20)]
    own = generate(model, tokenizer, chats, max_new_tokens=24, batch_size=5)
    assert {completion.truncated for [completion] in own} == {True, False}
    for chat, [completion] in zip(chats, own, strict=True):
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        written = model.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert completion.ids == tuple(written.tolist())


def test_a_prompt_is_read_once_however_its_samples_are_spread_over_refills(policy, monkeypatch):
    model, tokenizer = policy
    read, forward = [], type(model).forward

    def counted(self, input_ids, **options):
        if "attention_mask" not in options:
            read.append(len(input_ids))
        return forward(self, input_ids=input_ids, **options)

    monkeypatch.setattr(type(model), "forward", counted)
    generate(model, tokenizer, CHATS, max_new_tokens=8, temperature=1.0, samples=5, batch_size=3)
    assert sum(read) == len(CHATS)


def test_memory_does_not_grow_with_the_number_of_prompts(policy, monkeypatch):
    forward, held = _Slots.forward, []

    def watched(slots):
        held[-1] = max(held[-1], slots.store.numel() + slots.prefixes.numel())
        return forward(slots)

    monkeypatch.setattr(_Slots, "forward", watched)
    for letters in ("a", "abcdef"):
        chats = [[{"role": "user", "content": prompt + letter}] for prompt in PROMPTS for letter in letters]
        held.append(0)
        generate(*policy, chats, max_new_tokens=8, temperature=1.0, batch_size=4)
    assert held[0] == held[1] > 0


def test_rows_to_skip_are_left_out_and_the_others_stay_the_same(policy):
    protocol = Protocol("test", 12, samples=3, temperature=1.0, seed=4)
    whole, part = (
        dict(pair for batch in generate_batches(*policy, CHATS, protocol, 4, skip) for pair in batch)
        for skip in ((), range(3, 17))
    )
    assert part == {row: whole[row] for row in (0, 1, 2, *range(17, 21))}
    assert dict(pair for batch in generate_batches(*policy, CHATS, protocol, 4, range(21)) for pair in batch) == {}


def test_sampled_tokens_carry_the_log_probability_that_the_model_gives_them(policy):
    model, tokenizer = policy
    [samples] = generate(model, tokenizer, CHATS[:1], max_new_tokens=12, temperature=1.0, samples=4)
    prompt = prompt_ids(tokenizer, CHATS[0])
    expected = log_probabilities(model, [(prompt, list(sample.ids)) for sample in samples], tokenizer.pad_token_id)
    assert torch.allclose(torch.tensor([p for sample in samples for p in sample.logprobs]), expected, atol=1e-4)


def test_weights_are_in_another_precision_only_while_they_generate(policy):
    model, tokenizer = policy
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    seen = []
    hook = model.register_forward_pre_hook(lambda *_: seen.append(model.dtype))
    sampled = generate(model, tokenizer, CHATS, max_new_tokens=8, temperature=1.0, dtype=torch.bfloat16)
    hook.remove()
    assert set(seen) == {torch.bfloat16}
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    halved = copy.deepcopy(model).to(torch.bfloat16)
    assert sampled == generate(halved, tokenizer, CHATS, max_new_tokens=8, temperature=1.0)


def test_autocast_around_generation_changes_few_first_tokens(policy):
    options = {"max_new_tokens": 8, "temperature": 1.0, "batch_size": 3}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = generate(*policy, CHATS, **options)
    pairs = zip(cast, generate(*policy, CHATS, **options), strict=True)
    assert sum(ours.ids[0] == theirs.ids[0] for [ours], [theirs] in pairs) >= len(CHATS) - 1


def test_a_model_with_a_sliding_window_is_refused():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    model.config.layer_types = ["full_attention", "sliding_attention"]
    model.config.sliding_window = 4
    with pytest.raises(ValueError, match="sliding window"):
        generate(model, tokenizer, CHATS, max_new_tokens=2)
    assert model.config._attn_implementation == "sdpa"


def test_a_batch_on_a_cpu_has_only_as_many_prompts_as_fit_into_memory(policy, monkeypatch):
    model, tokenizer = policy
    whole = generate(*policy, CHATS, max_new_tokens=24)
    config, longest = model.config, max(len(prompt_ids(tokenizer, chat)) for chat in CHATS) + 24
    width = config.hidden_size // config.num_attention_heads
    keys_and_values = 2 * config.num_hidden_layers * config.num_key_value_heads * width * 4  # bytes of a token, float32
    monkeypatch.setattr(generation, "CACHE_BYTES", 3 * keys_and_values * longest)
    batches = list(generate_batches(*policy, CHATS, Protocol("EVAL@1", max_new_tokens=24)))
    sizes = [len(batch) for batch in batches]
    assert (sizes[0], sum(sizes)) == (3, len(CHATS))
    completions = dict(pair for batch in batches for pair in batch)
    assert [[completions[row]] for row in range(len(CHATS))] == whole
