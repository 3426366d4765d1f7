"""Stale: why a run is no longer what its notebook, modules, params and data would make now.

What it was made with is recorded as hashes in run_info.json, so neither git's history nor the machine that ran it is
needed to tell.
"""

import hashlib
from functools import cache
from pathlib import Path

from lib.evidence.committed import Committed, params_file
from lib.fingerprint import Fingerprints, upstream_names
from lib.parameters import load_params_file


class Staleness:
    """Of the runs of one look at the repository: make a new one to see what changed since."""

    def __init__(self, runs: dict[tuple[str, str], Committed]):
        self._runs = runs
        self._fingerprints = cache(Fingerprints)

    @cache  # noqa: B019 (one object per look)
    def of(self, run: Committed) -> str:
        """Why a run is stale, in a few words, or an empty string. A run without a record is not: it is broken."""
        try:
            info = run.info
            changed = self._changed(run, info)
        except (OSError, KeyError):
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
        file = params_file(run.preset, run.name)
        now = fingerprints.of(run.name) if file.is_file() else fingerprints.inputs(run.template, info["parameters"])
        if now.fingerprint == info["fingerprint"]:
            return []
        lib = info["lib_hashes"]
        found = ["the notebook"] if now.notebook != info["notebook_hash"] else []
        found += [name for name in sorted(now.lib.keys() | lib.keys()) if now.lib.get(name) != lib.get(name)]
        given = load_params_file(file) if file.is_file() else {}
        found += [f"params {name}" for name, value in given.items() if info["parameters"].get(name) != value]
        found += ["data"] if now.data and fingerprints.data != info["data"] else []
        above = [self._runs.get((run.preset, name)) for name in upstream_names(info["parameters"])]
        found += [f"upstream {one.name}" for one in above if one and self.of(one)]
        return found or ["the preset, or a parameter's default"]


def replaced(run: Committed) -> list[str]:
    """The runs that this one has read and that have been executed again since."""
    read = run.info.get("read", {})
    return [name for name, was in read.items() if digest(run.folder.parent / name / "run_info.json") != was]


def digest(file: Path) -> str:
    """A file's hash as run_info.json has it; an empty string for a file that is not there."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else ""
