"""Stale: why a run is no longer what its notebook, modules, params and data would make now.

What it was made with is recorded as hashes in run_info.json, so the machine that ran it is not needed to tell. Only the
preset is not: git has it as it was. A part of the preset counts for a run whose code names it, so that one for a new
notebook leaves the others as they are; where git's history is missing, every change counts.
"""

import hashlib
import json
import re
from functools import cache
from pathlib import Path

from lib import paths
from lib.evidence.committed import Committed, History, params_file
from lib.fingerprint import BOOKKEEPING, DOOR, Fingerprints, upstream_names
from lib.parameters import load_params_file, read_parameters, resolve


class Staleness:
    """Of the runs of one look at the repository: make a new one to see what changed since."""

    def __init__(self, runs: dict[tuple[str, str], Committed], history: History):
        self._runs, self._history = runs, history
        self._fingerprints = cache(Fingerprints)

    @cache  # noqa: B019 (one object per look)
    def of(self, run: Committed) -> str:
        """Why a run is stale, in a few words, or an empty string. A run without a record is not: it is broken."""
        try:
            info = run.info
        except (OSError, ValueError):
            return ""
        try:
            changed = self._changed(run, info)
        except (OSError, KeyError, TypeError):
            return ""
        except ValueError as error:  # a template or params file that no longer suits the run
            return str(error).splitlines()[0]
        if changed:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            return f"changed since: {', '.join(changed[:3])}{more}"
        again = replaced(run)
        return f"ran again since: {', '.join(again)}" if again else ""

    def _changed(self, run: Committed, info: dict) -> list[str]:
        fingerprints = self._fingerprints(run.preset)
        file, earlier, lib = params_file(run.preset, run.name), info["parameters"], info["lib_hashes"]
        given = load_params_file(file) if file.is_file() else earlier
        parameters = resolve(read_parameters(paths.root() / "notebooks" / run.path.name), given)
        now = fingerprints.inputs(run.template, parameters)
        if now.fingerprint == info["fingerprint"]:
            return []
        found = ["the notebook"] if now.notebook != info["notebook_hash"] else []
        found += [name for name in sorted(now.lib.keys() | lib.keys()) if now.lib.get(name) != lib.get(name)]
        names = sorted(parameters.keys() | earlier.keys())
        found += [f"params {name}" for name in names if parameters.get(name) != earlier.get(name)]
        found += ["data"] if now.data and fingerprints.data != info["data"] else []
        found += self._preset(run, now.lib)
        above = [self._runs.get((run.preset, name)) for name in upstream_names(earlier)]
        return found + [f"upstream {one.name}" for one in above if one and self.of(one)]

    def _preset(self, run: Committed, modules: dict) -> list[str]:
        """The parts of the preset that have changed since the run's commit and that its code names."""
        now = load_params_file(paths.root() / "params" / run.preset / "preset.yaml")
        then = self._history.preset(run.info["commit"] or "", run.preset)
        if then is None:
            return ["maybe the preset"]
        code = [f"notebooks/{run.template}.ipynb"]
        code += [
            name.replace(".", "/") + end for name in (*modules, *BOOKKEEPING, DOOR) for end in (".py", "/__init__.py")
        ]
        named = set().union(*map(self._strings, code))
        changed = (part for part in sorted(now.keys() | then.keys()) if now.get(part) != then.get(part))
        return [f"preset {part}" for part in changed if part in named]

    @cache  # noqa: B019
    def _strings(self, file: str) -> set[str]:
        """The texts in quotes in a file of the repository, where there is such a file."""
        path = paths.root() / file
        text = path.read_text() if path.is_file() else ""
        if path.suffix == ".ipynb" and text:
            cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
            text = "\n".join("".join(cell["source"]) for cell in cells)
        return set(re.findall(r"[\"'](\w+)[\"']", text))


def replaced(run: Committed) -> list[str]:
    """The runs that this one has read and that have been executed again since."""
    read = run.info.get("read", {})
    return [name for name, was in read.items() if digest(run.folder.parent / name / "run_info.json") != was]


def digest(file: Path) -> str:
    """A file's hash as run_info.json has it; an empty string for a file that is not there."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else ""
