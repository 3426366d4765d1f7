"""Supervised fine-tuning with the real TRL on a tiny policy, on solutions that the real judge has accepted."""

from dataclasses import replace

import pytest
import torch
from tiny_policy import make_model
from trainings import chat, sft_config

from lib.evaluation.export import load_complete
from lib.judge import Verdict
from lib.policy.generation import generate
from lib.policy.models import load_policy
from lib.policy.prompts import answer
from lib.problems import Problem, Test
from lib.training.pairs import verified_pairs
from lib.training.sft import order_rows, train_sft

ADD = "a, b = map(int, input().split())\nprint(a + b)"
ADD_SHORTLY = "print(sum(map(int, input().split())))"
ADD_AT_LENGTH = "numbers = input().split()\na = int(numbers[0])\nb = int(numbers[1])\nprint(a + b)"
MULTIPLY = "a, b = map(int, input().split())\nprint(a * b)"
ENDLESS = "while True:\n    pass"
PROGRAMS = {"add": ADD, "multiply": MULTIPLY}


def problem(name: str, result: int, *solutions: str) -> Problem:
    tests = (Test("6 7\n", f"{result}\n"), Test("0 0\n", "0\n"))
    return Problem(name, "tiny", "train", "stdio", f"{name} two numbers", tests, time_limit=0.2, solutions=solutions)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_the_loss_falls_until_the_policy_repeats_the_programs_it_was_shown(tokenizer, tmp_path):
    model = make_model(tokenizer)
    pairs = [(chat(prompt), program) for prompt, program in PROGRAMS.items()] * 8
    curve = train_sft(
        model, tokenizer, pairs, sft_config(tmp_path, steps=150, batch=4, learning_rate=4e-3, logging_steps=50)
    )
    assert list(curve.columns) == ["step", "loss", "learning_rate", "minutes"]
    assert curve.minutes.is_monotonic_increasing
    assert list(curve.step) == [50, 100, 150]
    assert curve.loss.iloc[0] > 1 > 0.1 > curve.loss.iloc[-1]
    written = generate(model, tokenizer, [chat(prompt) for prompt in PROGRAMS], max_new_tokens=80)
    assert [one.text for [one] in written] == [answer(program) for program in PROGRAMS.values()]
    assert not any(one.truncated for [one] in written), "the end token is a part of what is learnt"


@pytest.mark.parametrize("prompt", ["add", "add " + "~^`|" * 60], ids=["short", "long"])
def test_the_loss_is_that_of_the_program_and_not_of_the_statement(tokenizer, tmp_path, prompt):
    asked = tokenizer.apply_chat_template(chat(prompt), add_generation_prompt=True, return_dict=False)
    said = tokenizer(answer(ADD) + tokenizer.eos_token)["input_ids"]
    model = make_model(tokenizer)
    with torch.no_grad():
        labels = torch.tensor([[-100] * len(asked) + said])
        expected = model(input_ids=torch.tensor([asked + said]), labels=labels).loss.item()
    curve = train_sft(model, tokenizer, [(chat(prompt), ADD)] * 4, sft_config(tmp_path, steps=1, batch=4))
    assert curve.loss[0] == pytest.approx(expected, rel=0.02), "TRL counts the template's last newline, nothing more"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tokenizer, tmp_path):
    pairs = [(chat(f"{prompt} {n}"), program) for n in range(8) for prompt, program in PROGRAMS.items()]
    trained = []
    for seed in (3, 3, 4):
        model = make_model(tokenizer)
        train_sft(model, tokenizer, pairs, sft_config(tmp_path, steps=3, batch=4, seed=seed))
        trained.append(weights(model))
    first, again, other = trained
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    untouched = weights(make_model(tokenizer))
    assert not any(torch.equal(first[name], untouched[name]) for name in first if "bias" not in name)


def test_a_pair_that_would_be_cut_is_an_error_and_nothing_is_trained(tokenizer, tmp_path):
    model = make_model(tokenizer)
    before = weights(model)
    pairs = [(chat("add"), ADD), (chat("add " * 60), ADD), (chat("add"), ADD + "\n# " + "add " * 60)]
    told = r"2 of 3 pairs are longer than 128 tokens \(the longest has \d+\): filter them or raise max_length"
    with pytest.raises(ValueError, match=told):
        train_sft(model, tokenizer, pairs, sft_config(tmp_path, steps=2, max_length=128))
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(model).items())


def test_no_checkpoint_is_left(tokenizer, tmp_path):
    train_sft(make_model(tokenizer), tokenizer, [(chat("add"), ADD)] * 4, sft_config(tmp_path, steps=2, batch=2))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_only_solutions_that_the_judge_accepts_become_pairs(judge):
    problems = [
        problem("add", 13, MULTIPLY, ADD),
        problem("multiply", 42, MULTIPLY, f"input()\n{ENDLESS}", "print(42)"),
        problem("subtract", -1, ADD, "input("),
        problem("divide", 0),
    ]
    pairs, counts = verified_pairs(problems, judge, per_problem=3)
    assert pairs == [(chat("add two numbers"), ADD), (chat("multiply two numbers"), MULTIPLY)]
    assert counts == {
        "problems": 4,
        "with solutions": 3,
        "over-long": 0,
        "reads no input": 1,
        "solutions judged": 6,
        "rejected by the judge": 4,
        "pairs": 2,
        "easy pairs": 2,
    }


def test_of_many_solutions_of_a_problem_the_shortest_are_kept_and_repeats_count_once(judge):
    add = problem("add", 13, ADD_AT_LENGTH, ADD, MULTIPLY, ADD_SHORTLY, ADD)
    pairs, counts = verified_pairs([add], judge, per_problem=2, instruction="Python 3, please.")
    assert pairs == [
        (chat("add two numbers\nPython 3, please."), ADD_SHORTLY),
        (chat("add two numbers\nPython 3, please."), ADD),
    ]
    assert (counts["solutions judged"], counts["pairs"]) == (4, 2)


def test_pairs_of_easy_problems_and_of_those_without_a_difficulty_come_first(judge):
    hard, easy, unknown = (
        replace(problem(name, 13, ADD), id=name, prompt=name, difficulty=difficulty)
        for name, difficulty in (("hard", "C"), ("easy", "A"), ("unknown", ""))
    )
    pairs, counts = verified_pairs([hard, easy, unknown], judge, per_problem=1, easy=["A", "B"])
    assert pairs == [(chat("easy"), ADD), (chat("unknown"), ADD), (chat("hard"), ADD)]
    assert (counts["pairs"], counts["easy pairs"]) == (3, 2)


def test_of_several_solutions_the_fastest_can_be_preferred_and_over_long_ones_left_out(judge, monkeypatch):
    slow = f"for _ in range(2_000_000): pass\n{ADD_SHORTLY}"
    add = problem("add", 13, slow, ADD_AT_LENGTH)
    for prefer, program in (("fastest", ADD_AT_LENGTH), ("shortest", slow)):
        [(_, chosen)], counts = verified_pairs([add], judge, per_problem=1, prefer=prefer)
        assert (chosen, counts["over-long"]) == (program, 0)
    assert len(slow) < len(ADD_AT_LENGTH)
    monkeypatch.setattr("lib.training.pairs.LONGEST", len(slow))
    [(_, chosen)], counts = verified_pairs([add], judge, per_problem=2)
    assert (chosen, counts["over-long"], counts["solutions judged"]) == (slow, 1, 1)


def test_solutions_that_would_be_cut_in_training_are_left_out_and_counted_and_the_others_fit(tokenizer, judge):
    add, told = problem("add", 13, ADD_AT_LENGTH, ADD), problem("multiply " * 40, 42, MULTIPLY)
    said = [{"role": "assistant", "content": answer(ADD)}]
    limit = len(tokenizer.apply_chat_template(chat("add two numbers") + said, return_dict=False))
    pairs, counts = verified_pairs([add, told], judge, per_problem=2, tokens=(tokenizer, limit))
    assert pairs == [(chat("add two numbers"), ADD)]
    assert (counts["over-long"], counts["solutions judged"], counts["pairs"]) == (2, 1, 1)
    [(conversation, program)] = pairs
    whole = [*conversation, {"role": "assistant", "content": answer(program)}]
    assert len(tokenizer.apply_chat_template(whole, return_dict=False)) <= limit


def test_a_solution_that_the_judge_could_not_judge_is_not_trained_on():
    class BrokenJudge:
        def judge_many(self, submissions, progress):
            return [Verdict(False, 0.0, "api_error", 0, 2, 0.0, feedback="no worker left") for _ in submissions]

    pairs, counts = verified_pairs([problem("add", 13, ADD)], BrokenJudge(), per_problem=3)
    assert pairs == []
    assert counts["pairs"] == 0


def test_a_training_shorter_than_a_stretch_of_the_log_still_has_a_curve(tokenizer, tmp_path):
    settings = sft_config(tmp_path, steps=2, batch=2, logging_steps=10)
    curve = train_sft(make_model(tokenizer), tokenizer, [(chat("add"), ADD)] * 4, settings)
    assert list(curve.step) == [2]


def test_checkpoints_are_complete_model_folders_without_the_optimizer(tokenizer, tmp_path):
    train_sft(
        make_model(tokenizer), tokenizer, [(chat("add"), ADD)] * 4, sft_config(tmp_path, steps=5, batch=2, save_steps=2)
    )
    saved = sorted(tmp_path.glob("checkpoint-*"))
    assert [path.name for path in saved] == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    for path in saved:
        load_complete(path)
        assert not list(path.glob("optimizer*"))
    first, last = (load_policy(path, device="cpu").state_dict() for path in (saved[0], saved[-1]))
    assert not all(torch.equal(tensor, last[name]) for name, tensor in first.items())


def test_adapters_alone_are_trained_and_merged_so_that_the_model_is_a_plain_one_again(tokenizer, tmp_path):
    model = make_model(tokenizer)
    before, kinds = weights(model), [type(module) for module in model.modules()]
    pairs = [(chat(prompt), program) for prompt, program in PROGRAMS.items()] * 8
    lora = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
    options = {"steps": 40, "batch": 2, "learning_rate": 1e-2, "gradient_accumulation_steps": 2, "save_steps": 20}
    curve = train_sft(model, tokenizer, pairs, sft_config(tmp_path, lora=lora, **options))
    assert curve.loss.iloc[-1] < curve.loss.iloc[0] - 0.5
    assert [type(module) for module in model.modules()] == kinds
    moved = {name for name, tensor in weights(model).items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if name.endswith("_proj.weight")}
    model.save_pretrained(tmp_path / "model")
    merged = load_policy(tmp_path / "model", device="cpu").state_dict()
    assert all(torch.equal(tensor, merged[name]) for name, tensor in model.state_dict().items())
    assert (tmp_path / "checkpoint-20" / "adapter_model.safetensors").is_file()


def test_a_batch_read_in_parts_gives_the_weights_of_one_read_at_once(tokenizer, tmp_path):
    found = []
    for parts in (1, 4):
        model = make_model(tokenizer)
        pairs = [(chat(prompt), program) for prompt, program in PROGRAMS.items()] * 2
        train_sft(model, tokenizer, pairs, sft_config(tmp_path, batch=4 // parts, gradient_accumulation_steps=parts))
        found.append(weights(model))
    assert all(torch.allclose(tensor, found[1][name], atol=1e-4) for name, tensor in found[0].items())


def test_the_first_steps_are_drawn_from_the_easy_pairs_and_every_row_is_seen_before_one_is_seen_again():
    lengths = [9, 3, 7, 5, 8, 2, 6, 4, 1, 10]
    order = order_rows(lengths, batch_size=2, steps=9, easy=4, easy_steps=4, seed=0)
    assert len(order) == 18
    assert set(order[:8]) == {0, 1, 2, 3}
    assert sorted(order[:4]) == sorted(order[4:8]) == [0, 1, 2, 3]
    assert sorted(order[8:]) == list(range(10))
    assert order == order_rows(lengths, 2, 9, 4, 4, seed=0) != order_rows(lengths, 2, 9, 4, 4, seed=1)
    assert order_rows(lengths, 2, 5, 4, 4, seed=0) == order[:10], "a longer training begins as a shorter one does"


def test_steps_on_easy_pairs_need_some(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="set easy_steps to 0"):
        train_sft(None, tokenizer, [(chat("add"), ADD)], sft_config(tmp_path, steps=2), easy_steps=1)
