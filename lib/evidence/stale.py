"""Stale: why a run is no longer what its notebook, modules, params, preset and data would make now.

What it was made with is recorded as hashes in run_info.json, so the machine that ran it is not needed to tell.
"""

import hashlib
from functools import cache
from pathlib import Path

from lib.evidence.committed import Committed, params_file
from lib.runs import paths
from lib.runs.fingerprint import Fingerprints, upstream_names
from lib.runs.parameters import load_params_file, read_parameters, resolve


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
        except (OSError, ValueError):
            return ""
        try:
            changed = self._changed(run, info)
        except KeyError as error:  # made before the record had it
            return f"its record lacks {error.args[0]}"
        except (OSError, TypeError):
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
        file, earlier = params_file(run.preset, run.name), info["parameters"]
        given = load_params_file(file) if file.is_file() else earlier
        parameters = resolve(read_parameters(paths.root() / "notebooks" / run.path.name), given)
        now = fingerprints.inputs(run.template, parameters)
        if now.fingerprint == info["fingerprint"]:
            return []
        found = ["the notebook"] if now.notebook != info["notebook_hash"] else []
        found += _differing(now.lib, info["lib_hashes"])
        found += [f"params {name}" for name in _differing(parameters, earlier)]
        found += ["data"] if now.data and fingerprints.data != info["data"] else []
        found += [f"preset {part}" for part in _differing(now.preset, info["preset_hashes"])]
        above = [self._runs.get((run.preset, name)) for name in upstream_names(earlier)]
        return found + [f"upstream {one.name}" for one in above if one and self.of(one)]


def _differing(now: dict, then: dict) -> list[str]:
    return [name for name in sorted(now.keys() | then.keys()) if now.get(name) != then.get(name)]


def replaced(run: Committed) -> list[str]:
    """The runs that this one has read and that have been executed again since."""
    read = run.info.get("read", {})
    return [name for name, was in read.items() if digest(run.folder.parent / name / "run_info.json") != was]


def digest(file: Path) -> str:
    """A file's hash as run_info.json has it; an empty string for a file that is not there."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else ""
