"""The hand-off: what a checkpoint must prove before a later phase may load it.

A model folder in Hugging Face format can be half-written, cut off by a full disk, or lack its tokenizer, and still load
far enough to train on nonsense. `require_complete` reads files only; `validate_model` loads the model and lets it answer.
"""

import importlib.util
import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM

from lib.metrics import ran_to_the_end
from lib.policy.engines import VllmEngine
from lib.policy.generation import Completion, end_tokens, generate
from lib.policy.models import ADAPTERS, adapted_model, count_parameters, load_policy, load_tokenizer
from lib.policy.prompts import answer, extract, messages
from lib.policy.protocols import eval_at_1
from lib.problems import Problem

# What a Trainer leaves beside a model, to go on from.
TRAINER_STATE = ("optimizer*", "scheduler*", "rng_state*", "trainer_state.json", "*.bin")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
# What a tokenizer has to give back as it was: indentation, tabs, blank lines, signs, capitals, letters beyond ASCII.
ROUND_TRIP = 'def f(a, b):\n    if a != b:\n\treturn {"x": [a ** 2 // b, ~b]}\n\n\nprint(f(1, -2), "É·π")  # 3e-7'


class CheckpointError(ValueError):
    """A folder is no model that may be handed on; the message says which one and why."""


def require_complete(path: Path) -> int:
    """The number of weights in the files of a model folder, which are read and not loaded; in a folder of adapters
    (LoRA) theirs.

    Raises CheckpointError when the config, the tokenizer or a file of weights is missing, damaged or cut off.
    """
    for name in TOKENIZER_FILES:
        _read_json(path, name)
    if (path / ADAPTERS[0]).is_file():
        if not _read_json(path, ADAPTERS[0]).get("base_model_name_or_path"):
            raise CheckpointError(f"{path.name} is damaged: {ADAPTERS[0]} names no model that the adapters belong to")
        return _weights(path, {}, [ADAPTERS[1]])
    config = _read_json(path, "config.json")
    if not config.get("architectures"):
        raise CheckpointError(f"{path.name} is damaged: config.json names no architecture")
    index = path / "model.safetensors.index.json"
    placed = _read_json(path, index.name)["weight_map"] if index.is_file() else {}
    return _weights(path, placed, sorted(set(placed.values())) or ["model.safetensors"])


def _weights(path: Path, placed: dict[str, str], files: list[str]) -> int:
    weights, seen = 0, set()
    for name in files:
        if not (path / name).is_file():
            raise CheckpointError(f"{path.name} is incomplete: {name} is missing")
        try:
            with safe_open(path / name, framework="pt") as file:
                names = file.keys()
                for tensor in names:
                    weights += torch.Size(file.get_slice(tensor).get_shape()).numel()
                    seen.add(tensor)
        except SafetensorError as error:
            raise CheckpointError(f"{path.name} is damaged: {name} can't be read ({error})") from None
    missing = sorted(set(placed) - seen)
    if missing:
        raise CheckpointError(f"{path.name} is incomplete: no file holds {', '.join(missing[:3])}")
    return weights


def export_checkpoint(checkpoint: Path, folder: Path) -> None:
    """Makes `folder` the model of a checkpoint, without what only its training needs; adapters are merged into the
    model that they were trained on. Raises as `lib.policy.models.load_policy`."""
    if adapted_model(checkpoint):
        load_policy(checkpoint, device="cpu").save_pretrained(folder)
        load_tokenizer(checkpoint).save_pretrained(folder)
    else:
        shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns(*TRAINER_STATE))


def validate_model(path: Path, judge, problems: list[Problem], *, max_new_tokens: int, instruction: str = "") -> dict:
    """Checks a model folder in full; returns what was found, by check. Raises CheckpointError at the first failure.

    1. Config, tokenizer and weights are complete. 2. transformers loads it without a missing or a superfluous weight,
    and every weight is finite. 3. The model has as many parameters as the files. 4. The tokenizer gives a program back
    as it was. 5. The judge reaches a verdict on a greedy answer to each of `problems`, and not every answer is empty.
    6. Where vLLM is installed, it loads the folder and answers too; how many answers are the same is told, not judged,
    because in half precision long answers part.
    """
    stored = require_complete(path)
    model, report = AutoModelForCausalLM.from_pretrained(path, local_files_only=True, output_loading_info=True)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[what]:
            raise CheckpointError(f"{path.name} does not fit its config: {what} {sorted(map(str, report[what]))[:3]}")
    broken = [name for name, tensor in model.named_parameters() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(f"{path.name} holds weights that are no numbers: {', '.join(broken[:3])}")
    if count_parameters(model) != stored:
        raise CheckpointError(f"{path.name} has {count_parameters(model)} parameters, its files hold {stored}")
    tokenizer = load_tokenizer(path)
    back = tokenizer.decode(tokenizer(ROUND_TRIP, add_special_tokens=False)["input_ids"])
    if back != ROUND_TRIP:
        raise CheckpointError(f"the tokenizer of {path.name} does not give a program back: {back!r}")
    chats = [messages(problem, instruction) for problem in problems]
    written = [one for [one] in generate(model.eval(), tokenizer, chats, max_new_tokens=max_new_tokens)]
    verdicts = judge.judge_many([(extract(one.text).program, p) for one, p in zip(written, problems, strict=True)])
    if not any(one.text.strip() for one in written) or any(one.error_type == "api_error" for one in verdicts):
        raise CheckpointError(f"{path.name} writes nothing, or nothing that can be judged, on {len(problems)} problems")
    dtype, end = str(model.dtype).removeprefix("torch."), end_tokens(model.generation_config, tokenizer)
    return {
        "files": "complete",
        "transformers": "loads, every weight finite",
        "vllm": _in_vllm(path, dtype, tokenizer, end, chats, written, max_new_tokens),
        "parameters": stored,
        "tokenizer": f"gives {len(ROUND_TRIP)} characters of a program back; {len(tokenizer)} tokens",
        "answers": len(written),
        "ran to the end": sum(ran_to_the_end(one) for one in verdicts),
        "accepted": sum(one.accepted for one in verdicts),
        "example": answer(extract(written[0].text).program),
    }


def _in_vllm(
    path: Path, dtype: str, tokenizer, end: list[int], chats: list, written: list[Completion], limit: int
) -> str:
    if importlib.util.find_spec("vllm") is None:
        return "not checked: vLLM is not installed here"
    try:
        engine = VllmEngine(path, tokenizer, end, dtype=dtype, enforce_eager=True)
    except Exception as error:  # whatever vLLM says against a model
        raise CheckpointError(f"{path.name} does not load in vLLM: {error}") from error
    theirs = dict(pair for batch in engine.batches(chats, eval_at_1(limit)) for pair in batch)
    engine.close()
    same = sum(theirs[row] == one for row, one in enumerate(written))
    return f"loads; {same} of {len(written)} answers are those of transformers, token for token"


def _read_json(path: Path, name: str) -> dict:
    try:
        return json.loads((path / name).read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is incomplete: {name} is missing") from None
    except ValueError as error:
        raise CheckpointError(f"{path.name} is damaged: {name} is not JSON ({error})") from None
