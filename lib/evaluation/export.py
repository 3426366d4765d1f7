"""Export: makes a model folder of a checkpoint and validates it before a later phase may load it.

A model folder in Hugging Face format can be half-written, cut off by a full disk, or lack its tokenizer, and still load
far enough to train on nonsense. `require_complete` only reads files; `validate_model` loads the model and generates.
"""

import importlib.util
import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM

from lib.metrics import ran_to_the_end
from lib.policy.engines import TransformersEngine, VllmEngine
from lib.policy.generation import end_tokens
from lib.policy.models import ADAPTERS, adapted_model, load_policy, load_tokenizer
from lib.policy.prompts import answer, extract, messages
from lib.policy.protocols import Protocol
from lib.problems import Problem

# What a Trainer saves beside a model in order to resume.
TRAINER_STATE = ("optimizer*", "scheduler*", "rng_state*", "trainer_state.json", "*.bin")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
# The tokenizer must reproduce indentation, tabs, blank lines, operators, capitals and letters beyond ASCII.
ROUND_TRIP = 'def f(a, b):\n    if a != b:\n\treturn {"x": [a ** 2 // b, ~b]}\n\n\nprint(f(1, -2), "É·π")  # 3e-7'


class CheckpointError(ValueError):
    """A folder is no valid model; the message names the folder and the reason."""


def require_complete(path: Path) -> int:
    """Reads the files of a model folder, or of a folder of adapters (LoRA), and returns the number of weights in them.

    Raises CheckpointError if the config, the tokenizer or a file of weights is missing, damaged or cut off.
    """
    for name in TOKENIZER_FILES:
        _read_json(path, name)
    if (path / ADAPTERS[0]).is_file():
        if not _read_json(path, ADAPTERS[0]).get("base_model_name_or_path"):
            raise CheckpointError(f"{path.name} is damaged: {ADAPTERS[0]} names no base model")
        return _weights(path, {}, [ADAPTERS[1]])
    if not _read_json(path, "config.json").get("architectures"):
        raise CheckpointError(f"{path.name} is damaged: config.json names no architecture")
    index = path / "model.safetensors.index.json"
    placed = _read_json(path, index.name)["weight_map"] if index.is_file() else {}
    return _weights(path, placed, sorted(set(placed.values())) or ["model.safetensors"])


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

    1. Config, tokenizer and weights are complete. 2. transformers loads it without a missing or an unexpected weight,
    and every weight is finite. 3. The model has as many parameters as its files. 4. The tokenizer reproduces a program.
    5. The judge reaches a verdict on a greedy answer to each of `problems`, and not every answer is empty. 6. vLLM, if
    it is installed, loads the folder and answers too; the number of equal answers is only reported, because long
    answers differ in half precision.
    """
    stored = require_complete(path)
    loaded = AutoModelForCausalLM.from_pretrained(path, local_files_only=True, output_loading_info=True)
    model, report = loaded  # ty: ignore[not-iterable] (with output_loading_info it is a pair)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[kind]:
            raise CheckpointError(f"{path.name} does not fit its config: {kind} {sorted(map(str, report[kind]))[:3]}")
    broken = [name for name, tensor in model.named_parameters() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(f"{path.name} has weights that are not finite: {', '.join(broken[:3])}")
    if model.num_parameters() != stored:
        raise CheckpointError(f"{path.name} has {model.num_parameters()} parameters, its files hold {stored}")
    tokenizer = load_tokenizer(path)
    decoded = tokenizer.decode(tokenizer(ROUND_TRIP, add_special_tokens=False)["input_ids"])
    if decoded != ROUND_TRIP:
        raise CheckpointError(f"the tokenizer of {path.name} does not reproduce a program: {decoded!r}")
    conversations = [messages(problem, protocol.instruction) for problem in problems]
    completions = _answers(TransformersEngine(model.eval(), tokenizer), conversations, protocol)
    programs = [extract(completion.text).program for completion in completions]
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
        "parameters": stored,
        "tokenizer": f"reproduces {len(ROUND_TRIP)} characters of a program; {len(tokenizer)} tokens",
        "answers": len(completions),
        "ran to the end": sum(map(ran_to_the_end, verdicts)),
        "accepted": sum(verdict.accepted for verdict in verdicts),
        "example": answer(programs[0]),
    }


def _weights(path: Path, placed: dict[str, str], files: list[str]) -> int:
    """The number of weights in `files`. `placed`: name of a tensor -> the file that must hold it."""
    weights, names = 0, set()
    for file in files:
        if not (path / file).is_file():
            raise CheckpointError(f"{path.name} is incomplete: {file} is missing")
        try:
            with safe_open(path / file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (no mapping)
                    weights += torch.Size(tensors.get_slice(name).get_shape()).numel()
                    names.add(name)
        except SafetensorError as error:
            raise CheckpointError(f"{path.name} is damaged: {file} can't be read ({error})") from None
    if missing := sorted(set(placed) - names):
        raise CheckpointError(f"{path.name} is incomplete: no file holds {', '.join(missing[:3])}")
    return weights


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


def _read_json(path: Path, name: str) -> dict:
    try:
        return json.loads((path / name).read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is incomplete: {name} is missing") from None
    except ValueError as error:
        raise CheckpointError(f"{path.name} is damaged: {name} is not JSON ({error})") from None
