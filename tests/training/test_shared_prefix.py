"""Packed passes against TRL's own: the same log-probabilities, entropies, gradients and curves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_policy import make_tokenizer
from trainings import chat, config, grpo
from trl import GRPOTrainer
from trl.trainer import utils as trl_utils

from lib.policy.models import load_policy
from lib.policy.prompts import answer
from lib.training import shared_prefix
from lib.training.grpo import online_trainer
from lib.training.shared_prefix import SharedPrefixTrainer, by_prompt, pack

GROUPS = [((5, 6, 7), [(8, 9), (9,), (8, 9, 10, 11, 12)]), ((5, 6), [(7, 7)]), ((6,) * 9, [(8,), (), (9, 9, 9)])]
groups = st.lists(
    st.tuples(
        st.lists(st.integers(3, 9), min_size=2, max_size=12).map(tuple),
        st.lists(st.lists(st.integers(3, 9), max_size=6).map(tuple), min_size=1, max_size=5),
    ),
    min_size=1,
    max_size=4,
).filter(lambda groups: any(ids for _, completions in groups for ids in completions))


def padded(groups, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, int]:
    """The batch that TRL makes of groups, in random order: prompts padded on the left, completions on the right."""
    rows = [(prompt, ids) for prompt, completions in groups for ids in completions]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    width, keep = max(len(prompt) for prompt, _ in rows), max(len(ids) for _, ids in rows)
    ids, mask = (torch.zeros(len(rows), width + keep, dtype=torch.long) for _ in range(2))
    for row, (prompt, completion) in zip(order, rows, strict=True):
        place = slice(width - len(prompt), width + len(completion))
        ids[row, place], mask[row, place] = torch.tensor(prompt + completion), 1
    return ids, mask, keep


def make_trainer(start, folder, attention="sdpa", **fields) -> SharedPrefixTrainer:
    tokenizer = make_tokenizer()
    model = load_policy(start, device="cpu")
    model.set_attn_implementation(attention)

    class Rollouts:
        __name__ = "none"

        def sample(self, prompts, trainer):
            raise AssertionError("nothing is sampled here")

        def __call__(self, completions, **_):
            raise AssertionError("nothing is judged here")

    settings = config("grpo", folder, steps=1, **fields)
    return online_trainer(model, tokenizer, [{"prompt": "a"}] * 8, Rollouts(), settings.build(), settings)


def read(trainer, batch, usual=False, batch_size=None):
    """Log-probabilities, entropies and the gradients of a loss that weights every completion token differently."""
    ids, mask, keep = batch
    owner = GRPOTrainer if usual else SharedPrefixTrainer
    arguments = {"batch_size": batch_size, "compute_entropy": True}
    log_probs, entropies, _ = owner._get_per_token_logps_and_entropies(
        trainer, trainer.model, ids, mask, keep, **arguments
    )
    (log_probs * torch.linspace(-1, 2, log_probs.numel()).view_as(log_probs)).sum().backward()
    gradients = {name: weight.grad for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    trainer.model.zero_grad()
    return log_probs.detach(), entropies.detach(), gradients


@settings(deadline=None, max_examples=60)
@given(groups, st.integers(0, 3), st.integers(1, 400))
def test_each_completion_token_is_predicted_from_its_prompt_and_completion_alone(groups, seed, width):
    ids, mask, keep = padded(groups, seed)
    packed = pack(ids, mask, keep, width)
    predicted = []
    for row, column in (packed["shift_labels"] != -100).nonzero().tolist():
        place = packed["places"][row, column].item()
        seen = packed["attention_mask"][row, 0, column]
        origin, at = divmod(place, keep)
        before = ids[origin, : ids.shape[1] - keep + at][mask[origin, : ids.shape[1] - keep + at].bool()]
        assert packed["input_ids"][row][seen].tolist() == before.tolist()
        assert packed["position_ids"][row][seen].tolist() == list(range(len(before)))
        assert packed["shift_labels"][row, column] == ids[origin, ids.shape[1] - keep + at]
        predicted.append(place)
    assert sorted(predicted) == mask[:, -keep:].flatten().nonzero().flatten().tolist()
    assert packed["attention_mask"].any(-1).all(), "padding sees itself, or its attention would be NaN"


@pytest.mark.parametrize("batch_size", [None, 2], ids=["at once", "in parts"])
def test_a_packed_pass_is_trls_pass_with_fewer_tokens(batch_size, start, tmp_path):
    trainer, batch = make_trainer(start, tmp_path), padded(GROUPS)
    packed, usual = read(trainer, batch, batch_size=batch_size), read(trainer, batch, usual=True)
    assert trainer.shared_prefix
    for ours, theirs in zip(packed[:2], usual[:2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert packed[2].keys() == usual[2].keys()
    for name, gradient in usual[2].items():
        assert (packed[2][name] - gradient).norm() <= 1e-4 * gradient.norm(), name


def test_a_prompt_is_read_once_and_has_no_logits(start, tmp_path, monkeypatch):
    read_tokens, scored, real = [], [], trl_utils._ChunkedLogProbFunction.apply
    trainer, prompt = make_trainer(start, tmp_path), tuple(range(3, 43))
    batch = padded([(prompt, [(5, 6, 7), (8, 9), (7, 7, 7, 7)])])
    monkeypatch.setattr(
        trl_utils._ChunkedLogProbFunction,
        "apply",
        lambda hidden, *more: scored.append(len(hidden)) or real(hidden, *more),
    )
    trainer.model.model.register_forward_pre_hook(
        lambda module, _, inputs: read_tokens.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    trainer._compared = {True, False}
    read(trainer, batch)
    assert (read_tokens, scored) == ([39 + 9], [9])
    read(trainer, batch, usual=True)
    assert (read_tokens[1], scored[1]) == (3 * (40 + 4), 3 * (40 + 4 - 1))


@pytest.mark.parametrize(("with_gradients", "bf16"), [(True, False), (False, False), (False, True)])
def test_a_model_that_ignores_the_mask_is_read_by_trls_pass(with_gradients, bf16, start, tmp_path, monkeypatch, capsys):
    real = pack

    def wrong(*arguments):
        packed = real(*arguments)
        length = packed["attention_mask"].shape[-1]
        # the comparison in half precision sees only larger differences: there, tokens see nothing but themselves
        mask = torch.eye(length) if bf16 else torch.ones(length, length).tril()
        return packed | {"attention_mask": mask.bool().expand_as(packed["attention_mask"])}

    monkeypatch.setattr(shared_prefix, "pack", wrong)
    tokenizer = make_tokenizer()
    asked = tokenizer.apply_chat_template(chat("print 0"), add_generation_prompt=True, return_dict=False)
    answers = [tuple(tokenizer(answer(f"print({n})") + tokenizer.eos_token)["input_ids"]) for n in (0, 1, 0)]
    trainer, (ids, mask, keep) = make_trainer(start, tmp_path, bf16=bf16), padded([(tuple(asked), answers)])
    with torch.set_grad_enabled(with_gradients):
        ours, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, keep)
        theirs, _, _ = GRPOTrainer._get_per_token_logps_and_entropies(trainer, trainer.model, ids, mask, keep)
    assert torch.equal(ours, theirs)
    assert not trainer.shared_prefix
    assert "log-probabilities by" in capsys.readouterr().out


def test_gradients_are_compared_as_well(start, tmp_path, monkeypatch, capsys):
    real = SharedPrefixTrainer._read
    monkeypatch.setattr(
        SharedPrefixTrainer, "_read", lambda *batch: tuple(x if x is None else x * 2 - x.detach() for x in real(*batch))
    )
    trainer, batch = make_trainer(start, tmp_path), padded(GROUPS)
    ours, theirs = read(trainer, batch), read(trainer, batch, usual=True)
    assert not trainer.shared_prefix
    assert "gradients by 1.0e+00" in capsys.readouterr().out
    assert all(torch.equal(ours[2][name], gradient) for name, gradient in theirs[2].items())


def test_dropout_is_off_while_passes_are_compared(start, tmp_path):
    dropout = {"r": 4, "lora_alpha": 64, "lora_dropout": 0.5, "target_modules": "all-linear"}
    trainer, batch = make_trainer(start, tmp_path, lora=dropout), padded(GROUPS)
    trainer.model.train()
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    first, second = read(trainer, batch), read(trainer, batch)
    assert trainer.shared_prefix
    assert not torch.allclose(first[0], second[0]), "dropout acts in the training"


def test_other_attention_than_sdpa_is_read_by_trls_pass(start, tmp_path, capsys):
    assert not make_trainer(start, tmp_path, attention="eager").shared_prefix
    assert "needs sdpa" in capsys.readouterr().out


def test_micro_batches_keep_the_completions_of_a_prompt_together():
    prompts = torch.tensor([[1, 2], [0, 3], [1, 2], [1, 1], [0, 3], [1, 1], [1, 2], [0, 3]])
    whole = {"prompt_ids": prompts, "advantages": torch.arange(8.0), "num_items_in_batch": torch.tensor(9)}
    batches = [{name: rows.split(2)[i] if rows.ndim else rows for name, rows in whole.items()} for i in range(4)]
    formed = by_prompt(batches)
    assert [batch["advantages"].tolist() for batch in formed] == [[1, 4], [7, 3], [5, 0], [2, 6]]
    assert all(torch.equal(batch["prompt_ids"], prompts[batch["advantages"].long()]) for batch in formed)
    assert [batch["num_items_in_batch"] for batch in formed] == [9] * 4
    assert by_prompt([whole]) == [whole], "a whole update remains as TRL ordered it"


def test_without_a_kl_penalty_there_is_no_reference_pass(start, tmp_path, monkeypatch):
    passes, real = [], SharedPrefixTrainer._get_per_token_logps_and_entropies

    def counted(*arguments, **named):
        passes.append(torch.is_grad_enabled())
        return real(*arguments, **named)

    monkeypatch.setattr(SharedPrefixTrainer, "_get_per_token_logps_and_entropies", counted)
    curve, _ = grpo(start, tmp_path, None, steps=2, save_steps=0, beta=0.0)
    assert passes == [True, True]
    assert "kl" not in curve
    assert len(curve) == 2


def test_accumulation_does_not_imply_checkpointing(tmp_path):
    for asked in ({}, {"gradient_checkpointing": True}):
        built = config("grpo", tmp_path, steps=1, gradient_accumulation_steps=4, **asked).build()
        assert built.gradient_checkpointing == bool(asked)


CASES = {
    "plain": {},
    "several steps for the same samples": {"num_iterations": 2},
    "truncated completions are excluded": {"mask_truncated_completions": True, "max_completion_length": 12},
    "micro-batches": {"batch": 2, "gradient_accumulation_steps": 4},
    "adapters": {"lora": {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "all-linear"}},
    "checkpointing": {"gradient_checkpointing": True},
    "bf16 autocast": {"bf16": True},
}


@pytest.mark.parametrize("name", CASES)
def test_the_curve_is_that_of_trls_pass(name, start, tmp_path, monkeypatch):
    options = {"steps": 4, "save_steps": 0, "learning_rate": 1e-3} | CASES[name]
    curve, _ = grpo(start, tmp_path, None, **options)
    monkeypatch.setattr(SharedPrefixTrainer, "shared_prefix", False)
    usual, _ = grpo(start, tmp_path, None, **options)
    assert (set(curve.shared_prefix), set(usual.shared_prefix)) == ({1}, {0})
    assert len(curve) == 4 // options.get("num_iterations", 1)
    precision = {"rel": 0.1, "abs": 0.01} if "bf16" in options else {"rel": 2e-3, "abs": 2e-5}
    for column in curve.columns.drop("shared_prefix"):
        assert list(curve[column]) == pytest.approx(list(usual[column]), **precision), column
