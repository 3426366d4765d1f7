"""Export: makes a model folder of a checkpoint and validates it before a later phase may load it.

A model folder can be half-written, cut off by a full disk, or lack its tokenizer, and still load.
"""

import importlib.util
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel as Model
from transformers import PreTrainedTokenizerBase as Tokenizer

from lib.judge.answers import extract
from lib.metrics import ran_to_the_end
from lib.policy.engines import TransformersEngine, VllmEngine
from lib.policy.generation import end_tokens
from lib.policy.models import adapted_model, load_policy, load_tokenizer
from lib.policy.prompts import answer, messages
from lib.policy.protocols import Protocol
from lib.problems import Problem

# What a Trainer saves beside a model in order to resume.
TRAINER_STATE = ("optimizer*", "scheduler*", "rng_state*", "trainer_state.json", "*.bin")
# The tokenizer must reproduce indentation, tabs, blank lines, operators, capitals and letters beyond ASCII.
ROUND_TRIP = 'def f(a, b):\n    if a != b:\n\treturn {"x": [a ** 2 // b, ~b]}\n\n\nprint(f(1, -2), "É·π")  # 3e-7'


class CheckpointError(ValueError):
    """A folder is no valid model; the message names the folder and the reason."""


def load_complete(path: Path) -> tuple[Model, Tokenizer]:
    """Loads a model folder, or a folder of adapters (LoRA) with their base model.

    Raises CheckpointError if a file is missing, damaged or cut off, or a weight is missing, superfluous or not finite.
    """
    try:
        model, tokenizer = load_policy(path), load_tokenizer(path)
    except torch.OutOfMemoryError:  # not the fault of the folder
        raise
    except Exception as error:  # transformers, safetensors and tokenizers raise many kinds
        raise CheckpointError(f"{path.name} can't be loaded: {error}") from error
    if broken := [name for name, tensor in model.named_parameters() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(f"{path.name} has weights that are not finite: {', '.join(broken[:3])}")
    return model, tokenizer


def export_checkpoint(checkpoint: Path, folder: Path) -> None:
    """Copies the model of a checkpoint to `folder`, without the trainer's state; merges adapters into their base model.

    Raises what `lib.policy.models.load_policy` raises.
    """
    if adapted_model(checkpoint):
        load_policy(checkpoint, device="cpu").save_pretrained(folder)
        load_tokenizer(checkpoint).save_pretrained(folder)
    else:
        shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns(*TRAINER_STATE))


def validate_model(path: Path, judge, problems: list[Problem], protocol: Protocol) -> dict:
    """Validates a model folder; returns the result of each check. Raises CheckpointError at the first failure.

    1. transformers loads it completely (`load_complete`). 2. The tokenizer reproduces a program. 3. The judge reaches a
    verdict on a greedy answer to each of `problems`, and not every answer is empty. 4. vLLM, if it is installed, loads
    the folder and answers too; the number of equal answers is only reported, because long answers differ in half
    precision.
    """
    model, tokenizer = load_complete(path)
    decoded = tokenizer.decode(tokenizer(ROUND_TRIP, add_special_tokens=False)["input_ids"])
    if decoded != ROUND_TRIP:
        raise CheckpointError(f"the tokenizer of {path.name} does not reproduce a program: {decoded!r}")
    conversations = [messages(problem, protocol.instruction) for problem in problems]
    completions = _answers(TransformersEngine(model, tokenizer), conversations, protocol)
    programs = [extract(completion.text, judge.answer_block).program for completion in completions]
    verdicts = judge.judge_many(list(zip(programs, problems, strict=True)))
    if not any(completion.text.strip() for completion in completions) or any(
        verdict.error_type == "api_error" for verdict in verdicts
    ):
        raise CheckpointError(f"{path.name} writes nothing, or nothing that can be judged, on {len(problems)} problems")
    in_vllm = "not checked: vLLM is not installed here"
    if importlib.util.find_spec("vllm"):
        in_vllm = _compare_with_vllm(path, model, tokenizer, conversations, protocol, completions)
    return {
        "files": "complete",
        "transformers": "loads, every weight finite",
        "vllm": in_vllm,
        "parameters": model.num_parameters(),
        "tokenizer": f"reproduces {len(ROUND_TRIP)} characters of a program; {len(tokenizer)} tokens",
        "answers": len(completions),
        "ran to the end": sum(map(ran_to_the_end, verdicts)),
        "accepted": sum(verdict.accepted for verdict in verdicts),
        "example": answer(programs[0]),
    }


def _compare_with_vllm(path: Path, model, tokenizer, conversations: list, protocol: Protocol, completions: list) -> str:
    end, dtype = end_tokens(model.generation_config, tokenizer), str(model.dtype).removeprefix("torch.")
    try:
        engine = VllmEngine(path, tokenizer, end, dtype=dtype, enforce_eager=True)
    except Exception as error:  # vLLM raises many kinds
        raise CheckpointError(f"{path.name} does not load in vLLM: {error}") from error
    theirs = _answers(engine, conversations, protocol)
    engine.close()
    equal = sum(map(lambda a, b: a == b, theirs, completions))
    return f"loads; {equal} of {len(completions)} answers are those of transformers, token for token"


def _answers(engine, conversations: list, protocol: Protocol) -> list:
    by_row = dict(pair for batch in engine.batches(conversations, protocol) for pair in batch)
    return [by_row[row] for row in sorted(by_row)]
