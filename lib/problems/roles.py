"""Roles: what each problem set may be used for. Presets give the roles, and freezing makes them permanent.

A preset names its sets once, under `sets` in `params/<preset>/preset.yaml`:

    contests_valid: {source: tiny_contests, split: valid, role: select, every: 20}

A split of a source has one role in the whole repository: the presets must agree with one another, and with the role
that was frozen with the split in `data/manifests`. So no edit of a preset turns a test split into a train split.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lib.problems import manifest
from lib.problems.sources import SOURCES, known_split
from lib.runs import paths
from lib.runs.params_files import load_params_file

ALLOWED = {  # purpose -> roles of the sets that it may read
    "train": ("train",),
    "select": ("train", "select"),
    "monitor": ("train", "select", "monitor"),
    "report": ("train", "select", "monitor", "test"),
}
LEARNS = ("train", "select")  # purposes whose results change the policy
RULE = {
    "train": "weights are trained and preference pairs are built from train sets only",
    "select": "checkpoints and parameters are chosen on select sets (valid, valid_big) only",
    "monitor": "monitor sets may end a training (regression check), not choose checkpoints or parameters; no test sets",
}
Declared = Mapping[tuple[str, str], Mapping[str, str]]  # (source, split) -> {where a role is declared: role}


class RoleError(RuntimeError):
    """A purpose may not read a set, or the declared roles of a split differ; the message states the rule."""


@dataclass(frozen=True)
class ProblemSet:
    """An entry of a preset's `sets`.

    `every`: steps between measurements of checkpoints on this set; 0: none. `rows`: a file or folder to read instead of
    the source's usual place (see `lib.problems.sources.given_place`). `label`: its name in figures and tables.
    """

    source: str
    split: str
    role: str
    every: int = 0
    rows: str = ""
    label: str = ""

    def __post_init__(self):
        known_split(self.source, self.split)
        if self.role not in ALLOWED["report"]:
            raise ValueError(f"unknown role {self.role!r}; choose one of {', '.join(ALLOWED['report'])}")


def problem_sets(preset: Mapping) -> dict[str, ProblemSet]:
    """The sets of a preset (the content of preset.yaml) by name. Raises ValueError naming the entry that is wrong."""
    sets = {}
    for name, entry in (preset.get("sets") or {}).items():
        try:
            sets[name] = ProblemSet(**entry)
        except (TypeError, ValueError) as error:
            raise ValueError(f"preset.yaml, sets, {name}: {error}") from None
    return sets


def set_labels(preset: Mapping) -> dict[str, str]:
    """The name of each set of a preset in tables and figures."""
    return {name: entry.label or name.replace("_", " ") for name, entry in problem_sets(preset).items()}


def declared_roles() -> dict[tuple[str, str], dict[str, str]]:
    """Collects the declared roles of each split from presets and, once frozen, from the manifests' index."""
    declared: dict[tuple[str, str], dict[str, str]] = {}
    for file in sorted((paths.root() / "params").glob("*/preset.yaml")):
        for name, entry in problem_sets(load_params_file(file)).items():
            where = f"params/{file.parent.name}/preset.yaml, {name}"
            declared.setdefault((entry.source, entry.split), {})[where] = entry.role
    index = manifest.read_index()
    for place in ((name, split) for name, source in SOURCES.items() for split in source.splits):
        if about := index.get(manifest.file_name(*place)):
            declared.setdefault(place, {})["data/manifests/index.json"] = about["role"]
    return declared


def role_of(source: str, split: str | None = None, declared: Declared | None = None) -> str:
    """The role of a source's split. `declared`: from `declared_roles`, if it has been read already.

    Raises ValueError if the split is unknown or has no role, RoleError if its declared roles differ.
    """
    split = known_split(source, split)
    roles = (declared_roles() if declared is None else declared).get((source, split), {})
    if not roles:
        raise ValueError(
            f"{source}, split {split}, has no role: name it under `sets` in params/<preset>/preset.yaml, with its role"
        )
    if len(set(roles.values())) > 1:
        found = "; ".join(f"{role} ({where})" for where, role in roles.items())
        raise RoleError(
            f"{source}, split {split}, has more than one role: {found}. In all presets a split keeps the role that was "
            "frozen with it; to change the role on purpose, delete its entry from the index and freeze it again"
        )
    return next(iter(roles.values()))


def require(purpose: str, role: str, label: str) -> None:
    """Raises RoleError if `purpose` may not read a set with this role; ValueError for an unknown purpose."""
    if purpose not in ALLOWED:
        raise ValueError(f"unknown purpose {purpose!r}; choose one of {', '.join(ALLOWED)}")
    if role not in ALLOWED[purpose]:
        raise RoleError(f"{label} has the role {role!r}, which the purpose {purpose!r} may not read: {RULE[purpose]}")
