"""Models: a policy and its tokenizer, from a folder of this project or from the hub."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import PreTrainedModel as Model
from transformers import PreTrainedTokenizerBase as Tokenizer


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Loads the tokenizer, padding on the left so that every prompt of a batch ends where its completion begins.

    `path`: a folder in Hugging Face format (read without the network) or a hub name, `owner/model@revision`.
    Raises FileNotFoundError if the folder or its tokenizer is missing, ValueError if it has no chat template.
    """
    source = _source(path, ("tokenizer.json", "tokenizer_config.json"))
    tokenizer = cast(Tokenizer, AutoTokenizer.from_pretrained(**source, padding_side="left"))
    if tokenizer.chat_template is None:
        raise ValueError(f"the tokenizer in {path} has no chat template, so prompts can't be written: use a chat model")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(path: str | Path, device: str | None = None) -> Model:
    """Loads the model in evaluation mode and in its saved precision; the default device is the GPU if there is one.

    `path` as in `load_tokenizer`, or a folder of adapters, which are merged into the model that they were trained on.
    Raises FileNotFoundError if the folder, its config or its weights are missing, or the adapters' base model is;
    ValueError if the weights do not fit the config.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if adapted := adapted_model(path):
        return PeftModel.from_pretrained(load_policy(adapted, device), path).merge_and_unload().eval()
    source = _source(path, ("config.json", "*.safetensors"))
    loaded: Any = AutoModelForCausalLM.from_pretrained(**source, dtype="auto", output_loading_info=True)
    model, report = loaded
    if wrong := {kind: sorted(map(str, keys))[:3] for kind, keys in report.items() if keys}:
        raise ValueError(f"the weights in {path} do not fit its config: {wrong}")
    return model.to(device).eval()


def adapted_model(path: str | Path) -> str | None:
    """The base model of the adapters (LoRA) in a folder: a folder or a hub name; None if there are no adapters."""
    config = Path(path) / "adapter_config.json"
    if not config.is_file():
        return None
    settings = json.loads(config.read_text())
    name, revision = settings["base_model_name_or_path"], settings.get("revision")
    return f"{name}@{revision}" if revision else name


def weights_hash(model: torch.nn.Module) -> str:
    """A hash of all weights and their names."""
    content = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        content.update(name.encode())
        content.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy())
    return content.hexdigest()


def _source(path: str | Path, needed: tuple[str, ...]) -> dict:
    folder = Path(path)
    if folder.is_dir():
        missing = [pattern for pattern in needed if not any(folder.glob(pattern))]
        if missing:
            raise FileNotFoundError(
                f"{path} is an incomplete model folder, {', '.join(missing)} missing: make it again"
            )
        return {"pretrained_model_name_or_path": folder, "local_files_only": True}
    name = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+))?", str(path))
    if not isinstance(path, str) or not name or folder.parent.is_dir():
        raise FileNotFoundError(f"no model folder at {path}: run the notebook that makes it, or give a name on the hub")
    return {"pretrained_model_name_or_path": name[1], "revision": name[2]}
