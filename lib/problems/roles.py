"""Roles: what a preset uses each problem set for, and which purposes a role allows.

A preset names its sets once, under `sets` in `params/<preset>/preset.yaml`:

    contests_valid: {source: tiny_contests, split: valid, role: select, every: 20}

A split of a source has one role in the whole repository: the presets must agree with one another, and with the role
that was frozen with the split in `data/manifests`. So a test split cannot become a train split by an edit of a preset.
"""

from collections import defaultdict
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
ROLES = ALLOWED["report"]
LEARNS = ("train", "select")  # purposes whose results change the policy
RULE = {
    "train": "weights and preference pairs are made from train sets only",
    "select": "checkpoints, early stops and parameters are chosen on select sets (valid, valid_big) only",
    "monitor": "checks during a training read train, select and monitor sets; test sets are for the final report",
}


class RoleError(RuntimeError):
    """A purpose may not read a set, or a set's roles contradict one another; the message states the rule."""


@dataclass(frozen=True)
class ProblemSet:
    """One entry of a preset's `sets`. `every`: steps between measurements of checkpoints on this set; 0: none."""

    source: str
    split: str
    role: str
    every: int = 0

    def __post_init__(self):
        known_split(self.source, self.split)
        if self.role not in ROLES:
            raise ValueError(f"no role {self.role!r}; there are: {', '.join(ROLES)}")


def problem_sets(preset: Mapping) -> dict[str, ProblemSet]:
    """The sets of a preset (the content of its preset.yaml) by name. Raises ValueError naming the entry that is wrong."""
    sets = {}
    for name, entry in (preset.get("sets") or {}).items():
        try:
            sets[name] = ProblemSet(**entry)
        except (TypeError, ValueError) as error:
            raise ValueError(f"preset.yaml, sets, {name}: {error}") from None
    return sets


def declared_roles() -> dict[tuple[str, str], dict[str, str]]:
    """(source, split) -> {where its role is declared: role}: in the presets and, once frozen, in the manifests' index."""
    declared: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for file in sorted((paths.root() / "params").glob("*/preset.yaml")):
        for name, chosen in problem_sets(load_params_file(file)).items():
            declared[chosen.source, chosen.split][f"params/{file.parent.name}/preset.yaml, {name}"] = chosen.role
    index = manifest.read_index()
    for place in ((source, split) for source, entry in SOURCES.items() for split in entry.splits):
        if about := index.get(manifest.file_name(*place)):
            declared[place]["data/manifests/index.json"] = about["role"]
    return dict(declared)


def role_of(source: str, split: str | None = None) -> str:
    """The role of a source's split. Raises ValueError if nothing declares a role, RoleError if two declarations differ."""
    split = known_split(source, split)
    return agreed_role(source, split, declared_roles().get((source, split), {}))


def agreed_role(source: str, split: str, declared: Mapping[str, str]) -> str:
    """The one role in `declared`, {where: role}, of a source's split; raises as `role_of`."""
    if not declared:
        raise ValueError(
            f"{source}, split {split}, has no role: name it under `sets` in params/<preset>/preset.yaml, with its role"
        )
    if len(set(declared.values())) > 1:
        places = "; ".join(f"{role} ({place})" for place, role in declared.items())
        raise RoleError(
            f"{source}, split {split}, has more than one role: {places}. A split has one role in all presets, the one "
            "that was frozen with it; to change it on purpose, delete its entry from the index and freeze it again"
        )
    return next(iter(declared.values()))


def require(purpose: str, role: str, label: str) -> None:
    """Raises RoleError if `purpose` may not read a set with this role; ValueError for an unknown purpose."""
    if purpose not in ALLOWED:
        raise ValueError(f"no purpose {purpose!r}; there are: {', '.join(ALLOWED)}")
    if role not in ALLOWED[purpose]:
        raise RoleError(f"{label} has the role {role!r} and can't be read to {purpose}: {RULE[purpose]}")
