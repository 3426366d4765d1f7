"""Reads the YAML files under `params/`: a file per run, and one `preset.yaml` per preset.

A plain scalar means what it means in JSON: `1e-5` is a number, but `yes`, `010`, `2026-01-02` and the commit `12e4567`
are strings. A key that occurs twice is an error.
"""

import difflib
import json
import re
from pathlib import Path

import yaml
from yaml.constructor import ConstructorError

from . import paths


class ParameterError(ValueError):
    """A parameter is unknown, badly declared or of the wrong type; the message lists the known ones."""


def load_params_file(path: Path) -> dict:
    """The content of a params file, not yet checked against a notebook; {} for an empty file.

    Raises FileNotFoundError, and ParameterError if the content is not a mapping of names to values.
    """
    return parse_params(path.read_text(encoding="utf-8"), "/".join(path.parts[-3:]))


def parse_params(text: str, where: str) -> dict:
    """Parameters from YAML text. `where`: the name of the text in error messages."""
    try:
        values = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ParameterError(f"{where} is not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ParameterError(f"{where} must hold lines such as `reward: sparse`, not a {type(values).__name__}")
    return values


def load_preset(preset: str) -> dict:
    """The content of `params/<preset>/preset.yaml`.

    Raises ParameterError for an unknown preset, and for a top-level key that `params/preset_keys.yaml` does not list
    (without that file every key is allowed).
    """
    folder = paths.root() / "params"
    file, known = folder / preset / "preset.yaml", folder / "preset_keys.yaml"
    if not file.is_file():
        presets = ", ".join(sorted(path.parent.name for path in folder.glob("*/preset.yaml"))) or "none"
        raise ParameterError(f"no preset {preset!r}: params/{preset}/preset.yaml is missing (presets: {presets})")
    values = load_params_file(file)
    keys = load_params_file(known) if known.is_file() else values
    problems = [f"{key}: no such key{did_you_mean(key, keys)}" for key in values if key not in keys]
    if problems:
        raise ParameterError(
            f"params/{preset}/preset.yaml: {'; '.join(problems)}. A new key is declared in params/preset_keys.yaml, "
            f"which lists: {', '.join(keys)}"
        )
    return values


def did_you_mean(name: object, known) -> str:
    """The end of an error message: the known name that is nearest to a wrong one, if any is near."""
    close = difflib.get_close_matches(str(name), known, n=1)
    return f", did you mean {close[0]}?" if close else ""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 (PyYAML reads this class attribute): none of YAML 1.1's rules

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """As in SafeLoader, which keeps the last of two equal keys without a warning."""
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            keys = [self.construct_object(key) for key, _ in node.value]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ConstructorError(None, None, f"the key {twice} occurs twice", node.start_mark)
        return mapping


_JSON = r"(?:null|true|false|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+][0-9]+)?)?"  # the exponent needs its sign
_Loader.add_implicit_resolver("!json", re.compile(f"^{_JSON}$"), None)
_Loader.add_constructor("!json", lambda loader, node: json.loads(node.value or "null"))
