"""Parameters of a notebook: read from its template, checked, and turned into the name of a run.

A template has one code cell tagged `parameters`. Each of its lines reads

    reward: str = "dense"  # dense | sparse: the reward of one sampled program

1. A type is str, int, float, bool or `str | dict` (a name or a mapping). Values keep their type: a bool is never a
   number, but a whole number is a valid float. Text from a command line is read as JSON unless the type is str:
   `-p steps 20`, `-p reward '{"dense": 1, "format": 0.1}'`.
2. If the help begins with words between bars, only these values are accepted.
3. A default is a literal, because nothing is executed to read a template.
"""

import ast
import hashlib
import io
import json
import math
import re
import tokenize
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from .params_files import ParameterError, did_you_mean, load_params_file

TYPES = {"str": (str,), "int": (int,), "float": (float,), "bool": (bool,), "str | dict": (str, dict)}
CHOICES = re.compile(r"[\w.=+-]+(?: \| [\w.=+-]+)+")
LONGEST_NAME = 180  # bytes; a file system allows 255, and endings such as `.partial` are appended


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell. `type`: a key of TYPES. `choices`: empty if every value of the type is valid."""

    name: str
    type: str
    default: object
    help: str = ""
    choices: tuple = ()

    def convert(self, value: object) -> object:
        """The value in this parameter's type. Raises ParameterError if it has another type or is not a choice."""
        if isinstance(value, str) and (str not in TYPES[self.type] or value.startswith("{")):
            value = _parsed(value, self.type)
        if isinstance(value, dict):
            value = dict(value)  # nbformat hands a mapping over as a class of its own
        if self.type == "float" and type(value) is int:
            value = float(value)
        if type(value) not in TYPES[self.type] or (isinstance(value, float) and not math.isfinite(value)):
            hint = ", put it in quotes" if self.type == "str" else ""
            raise ParameterError(f"{value!r} is not a valid {self.type}{hint}")
        if self.choices and not isinstance(value, dict) and value not in self.choices:
            raise ParameterError(f"{value!r} is not one of {' | '.join(map(str, self.choices))}")
        return value

    def __str__(self) -> str:
        return f"{self.name}: {self.type} = {self.default!r}" + (f"  # {self.help}" if self.help else "")


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters that a notebook declares, in their order; {} if no cell is tagged `parameters`.

    Raises ParameterError for a line that does not read `name: type = literal  # help`.
    """
    for cell in json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code" and "parameters" in cell["metadata"].get("tags", []):
            source = "".join(cell["source"])
            break
    else:
        return {}
    try:
        lines = ast.parse(source).body
        comments = {
            token.start[0]: token.string.lstrip("# ").rstrip()
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        declared = [_declared(line, comments.get(line.end_lineno or 0, "")) for line in lines]
    except (SyntaxError, ParameterError) as error:
        raise ParameterError(f"parameters cell of {Path(notebook).name}: {error}") from None
    return {parameter.name: parameter for parameter in declared}


def resolve(parameters: dict[str, Parameter], given: dict) -> dict:
    """The values of all parameters: the given ones, converted to their types, and the defaults of the others.

    Raises ParameterError that lists every unknown name and every wrong value.
    """
    resolved, problems = {name: parameter.default for name, parameter in parameters.items()}, []
    for name, value in given.items():
        try:
            if name not in parameters:
                raise ParameterError(f"no such parameter{did_you_mean(name, parameters)}")
            resolved[name] = parameters[name].convert(value)
        except ParameterError as error:
            problems.append(f"{name}: {error}")
    if problems:
        known = "\n".join(f"  {parameter}" for parameter in parameters.values()) or "  none"
        raise ParameterError("\n".join(problems) + f"\nknown parameters:\n{known}")
    return resolved


def run_name(template: Path, resolved: dict) -> str:
    """The name of the run that a template makes with these resolved parameters: `30_grpo-sparse-s0`.

    The variant comes from the nearest file `params/<preset>/<notebook>[-<variant>]-s<seed>.yaml`, the file with the
    fewest different parameters. Every remaining difference is spelled out (`30_grpo-dense-steps=20-s0`), so that two
    runs share a name only if they are the same. A new seed is no difference; if a variant has a file for this seed,
    that file defines the variant. Raises ParameterError for a params file that does not fit the template.
    """
    declared, seed = read_parameters(template), resolved["seed"]
    folder, seeds = template.parent.parent / "params" / resolved["preset"], {}
    for path in sorted(folder.glob(f"{template.stem}-*.yaml")):
        if match := re.fullmatch(rf"({re.escape(template.stem)}(?:-.+)?)-s(\d+)", path.stem):
            seeds.setdefault(match[1], {})[int(match[2])] = path
    variants = {name: _read(files.get(seed) or files[min(files)], declared) for name, files in seeds.items()}
    variants = variants or {template.stem: resolve(declared, {})}  # without params files: the defaults
    differences = {
        name: {key: value for key, value in resolved.items() if key not in ("preset", "seed") and value != values[key]}
        for name, values in variants.items()
    }
    nearest = min(differences, key=lambda name: (len(differences[name]), name))
    name = nearest + "".join(f"-{key}={_spelled(value)}" for key, value in differences[nearest].items())
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"
    return f"{name}-s{seed}"


def _declared(line: ast.stmt, comment: str) -> Parameter:
    where = f"line {line.lineno}"
    if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None):
        raise ParameterError(f"{where}: expected `name: type = literal  # help`")
    kind = ast.unparse(line.annotation)
    if kind not in TYPES:
        raise ParameterError(f"{where}: expected `name: type = literal  # help`, type one of {', '.join(TYPES)}")
    try:
        default = ast.literal_eval(line.value)
    except ValueError:
        raise ParameterError(f"{where}: the default must be a literal, such as 0.5 or 'dense'") from None
    try:
        if isinstance(default, str) and str not in TYPES[kind]:
            raise ParameterError(f"{default!r} is not a valid {kind}")
        parameter, choices = Parameter(line.target.id, kind, default, comment), CHOICES.match(comment)
        if choices:
            parameter = replace(parameter, choices=tuple(map(parameter.convert, choices[0].split(" | "))))
        return replace(parameter, default=parameter.convert(default))
    except ParameterError as error:
        raise ParameterError(f"{where}: {error}") from None


def _parsed(text: str, kind: str) -> object:
    """The value that a text stands for in a type; the text itself if it stands for none."""
    try:
        return float(text) if kind == "float" else json.loads(text.lower() if kind == "bool" else text)
    except ValueError:
        return text


def _spelled(value: object) -> str:
    """A value as part of a run's name: unique, and without `/`, commas and spaces."""
    if isinstance(value, dict):
        return "+".join(f"{quote(str(key), safe='')}:{_spelled(item)}" for key, item in sorted(value.items())) or "{}"
    return quote(value if isinstance(value, str) else json.dumps(value), safe="")


def _read(path: Path, declared: dict[str, Parameter]) -> dict:
    try:
        return resolve(declared, load_params_file(path))
    except ParameterError as error:
        raise ParameterError(f"params/{path.parent.name}/{path.name}: {error}") from None
