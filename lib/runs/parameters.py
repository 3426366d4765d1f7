"""The parameters of a notebook: read from its template, checked, and turned into the name of a run.

A template has one code cell tagged `parameters`, each line of which reads

    reward: str = "dense"  # dense | sparse: what one sampled program earns

1. Types are str, int, float, bool and `str | dict`, a name or a mapping (in a params file as YAML, on a command line as
   JSON: `-p reward '{"dense": 1, "format": 0.1}'`). A value of another type is an error, with two exceptions, because that is how
   command lines and YAML deliver numbers: a whole number is a float, and a string counts when it spells the type
   (`"1e-5"` for a float). A bool is never a number.
2. Help that begins with words between bars is a promise: only these values are accepted.
3. Nothing is executed to read a template, so a default is a literal.
4. Files of parameters are YAML without the traps of version 1.1: `yes` and `2026-01-02` are strings, `010` is not 8,
   `1e-5` is a number, and a key that occurs twice is an error.
"""

import ast
import difflib
import hashlib
import io
import json
import math
import re
import tokenize
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import yaml

TYPES = {"str": (str,), "int": (int,), "float": (float,), "bool": (bool,), "str | dict": (str, dict)}
CHOICES = re.compile(r"[\w.=+-]+(?: \| [\w.=+-]+)+")
LONGEST_NAME = 180  # bytes; a file system allows 255, and `.partial` and the like are appended


class ParameterError(ValueError):
    """A parameter that is unknown, of the wrong type or badly declared; the message names those that are known."""


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell. `choices` is empty when every value of the type will do."""

    name: str
    type: str  # a key of TYPES
    default: str | int | float | bool | dict
    help: str = ""
    choices: tuple = ()

    def convert(self, value: object) -> str | int | float | bool | dict:
        """The value as this parameter's type. Raises ParameterError if it is of another type."""
        converted = _spelled(value, self.type) if isinstance(value, str) else value
        if self.type == "float" and type(converted) is int:
            converted = float(converted)
        if type(converted) not in TYPES[self.type] or (self.type == "float" and not math.isfinite(converted)):
            hint = ", put it in quotes" if self.type == "str" else ""
            raise ParameterError(f"{value!r} is no {self.type}{hint}")
        if self.choices and isinstance(converted, str | int | float) and converted not in self.choices:
            raise ParameterError(f"{value!r} is none of {' | '.join(map(str, self.choices))}")
        return converted

    def __str__(self) -> str:
        return f"{self.name}: {self.type} = {self.default!r}" + (f"  # {self.help}" if self.help else "")


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters that a notebook declares, in their order; none when no cell is tagged `parameters`.

    Raises ParameterError for a line that does not read `name: type = literal  # help`.
    """
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    sources = (
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code" and "parameters" in cell["metadata"].get("tags", [])
    )
    source = next(sources, "")
    try:
        lines = ast.parse(source).body
        comments = {
            token.start[0]: token.string.lstrip("# ").rstrip()
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        found = [_declared(line, comments.get(line.end_lineno, "")) for line in lines]
    except (SyntaxError, ParameterError) as error:
        raise ParameterError(f"parameters cell of {Path(notebook).name}: {error}") from None
    return {parameter.name: parameter for parameter in found}


def resolve(parameters: dict[str, Parameter], given: dict) -> dict:
    """All parameters with their values: those given, converted to their types, and the defaults of the others.

    Raises ParameterError, with everything that is wrong in one message, for names that are unknown and wrong values.
    """
    resolved, problems = {name: parameter.default for name, parameter in parameters.items()}, []
    for name, value in given.items():
        if name not in parameters:
            close = difflib.get_close_matches(str(name), parameters, n=1)
            problems.append(f"{name}: no such parameter" + (f", did you mean {close[0]}?" if close else ""))
            continue
        try:
            resolved[name] = parameters[name].convert(value)
        except ParameterError as error:
            problems.append(f"{name}: {error}")
    if problems:
        known = "\n".join(f"  {parameter}" for parameter in parameters.values()) or "  none"
        raise ParameterError("\n".join(problems) + f"\nknown parameters:\n{known}")
    return resolved


def run_name(notebook: str | Path, resolved: dict, params_root: Path) -> str:
    """The name of the run that a notebook makes with these resolved parameters: `30_grpo-sparse-s0`.

    The variant is that of the nearest file `params_root/<preset>/<notebook>[-<variant>]-s<seed>.yaml`, the one with the
    fewest different parameters, and every difference that remains is spelled out (`30_grpo-dense-steps=20-s0`), so two
    runs share a name only when they are the same. A new seed is no difference; but where a variant has a file for the
    very seed, that file says what the variant is. `notebook`: a template's path, or its stem when it lies in
    `notebooks/` beside `params_root`. Raises ParameterError for a params file that does not suit the template.
    """
    notebook = Path(notebook)
    if notebook.suffix != ".ipynb":
        notebook = Path(params_root).parent / "notebooks" / f"{notebook}.ipynb"
    declared = read_parameters(notebook)
    seed = resolved["seed"]
    candidates = {notebook.stem: resolve(declared, {})}  # without any file the defaults are what the name departs from
    files = _params_files(notebook.stem, Path(params_root) / resolved["preset"])
    if files:
        candidates = {name: _read(seeds.get(seed) or seeds[min(seeds)], declared) for name, seeds in files.items()}
    differences = {
        name: {key: value for key, value in resolved.items() if key not in ("preset", "seed") and value != values[key]}
        for name, values in candidates.items()
    }
    nearest = min(differences, key=lambda name: (len(differences[name]), name))
    name = nearest + "".join(f"-{key}={_spell(value)}" for key, value in differences[nearest].items())
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"
    return f"{name}-s{seed}"


def load_params_file(path: Path) -> dict:
    """What a YAML file of parameters holds, not yet checked against a notebook; {} for an empty one.

    Raises FileNotFoundError, and ParameterError where the content is no mapping of names to values.
    """
    return parse_params(Path(path).read_text(encoding="utf-8"), "/".join(Path(path).parts[-3:]))


def parse_params(text: str, where: str) -> dict:
    """Parameters written in YAML. `where`: the name that an error gives to the text."""
    try:
        values = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ParameterError(f"{where} is not the YAML expected: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ParameterError(f"{where} should hold lines like `reward: sparse`, not a {type(values).__name__}")
    return values


def _declared(line: ast.stmt, comment: str) -> Parameter:
    where = f"line {line.lineno}"
    if not (
        isinstance(line, ast.AnnAssign)
        and isinstance(line.target, ast.Name)
        and ast.unparse(line.annotation) in TYPES
        and line.value is not None
    ):
        raise ParameterError(f"{where}: `name: type = literal  # help` is expected, type one of {', '.join(TYPES)}")
    kind = ast.unparse(line.annotation)
    try:
        default = ast.literal_eval(line.value)
        if isinstance(default, str) and str not in TYPES[kind]:  # a default is written as what it is, never spelled
            raise ParameterError(f"{default!r} is no {kind}")
        parameter = Parameter(line.target.id, kind, default, comment)
        promise = CHOICES.match(comment)
        choices = tuple(parameter.convert(word) for word in promise[0].split(" | ")) if promise else ()
        parameter = replace(parameter, choices=choices)
        return replace(parameter, default=parameter.convert(default))
    except ParameterError as error:
        raise ParameterError(f"{where}: {error}") from None
    except ValueError:
        raise ParameterError(f"{where}: the default must be a literal, such as 0.5 or 'dense'") from None


def _spelled(text: str, kind: str) -> object:
    """What a string spells in a type: 3 for "3" and int; the string itself when it spells nothing."""
    if kind == "int" and re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if kind == "float":
            return float(text)
        if kind == "str | dict" and text.lstrip().startswith("{"):
            return json.loads(text)
    except ValueError:
        return text
    return text


def _spell(value: object) -> str:
    """A value as a part of a run's name, which is a folder: without `/`, commas and spaces, and unique."""
    if isinstance(value, dict):
        return "+".join(f"{quote(str(key), safe='')}:{_spell(item)}" for key, item in sorted(value.items())) or "{}"
    if isinstance(value, str):
        return quote(value, safe="")
    return quote(json.dumps(value), safe="")


def _params_files(notebook: str, folder: Path) -> dict[str, dict[int, Path]]:
    """The params files of a notebook: `<notebook>[-<variant>]` -> seed -> file."""
    files = {}
    for path in sorted(folder.glob(f"{notebook}-*.yaml")):
        match = re.fullmatch(rf"({re.escape(notebook)}(?:-.+)?)-s(\d+)", path.stem)
        if match:
            files.setdefault(match[1], {})[int(match[2])] = path
    return files


def _read(path: Path, declared: dict[str, Parameter]) -> dict:
    try:
        return resolve(declared, load_params_file(path))
    except ParameterError as error:
        raise ParameterError(f"params/{path.parent.name}/{path.name}: {error}") from None


class _Loader(yaml.SafeLoader):
    """YAML 1.1's values with the traps taken out; see the module's docstring."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012, the class attribute is how PyYAML is told

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """As SafeLoader does, which lets the last of equal keys win without a word."""
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            keys = [self.construct_object(key) for key, _ in node.value]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice} occurs twice", node.start_mark)
        return mapping


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    # An exponent alone needs its sign: 1e-5 is a number, but 12e4567 the beginning of a commit's hash.
    (
        "float",
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+][0-9]+|[-+]?\.inf|\.nan",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
