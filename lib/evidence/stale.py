"""Finds stale runs: their notebook, modules, params, preset or data have changed since they were executed.

run_info.json records the inputs of a run as hashes, so any machine can compare them.
"""

from functools import cache

from lib.evidence.runs import ExecutedRun, Runs
from lib.runs import paths
from lib.runs.fingerprint import Fingerprints, differing, upstream_names
from lib.runs.parameters import read_parameters, resolve
from lib.runs.params_files import load_params_file

RAN_AGAIN = "runs that it read ran again since"


class Staleness:
    """Compares runs with the present code. Each file is read once: make a new object to see later changes."""

    def __init__(self, runs: Runs):
        self._runs = runs
        self._fingerprints = cache(Fingerprints)

    @cache  # noqa: B019 (an object per check)
    def of(self, run: ExecutedRun) -> str:
        """Why a run is stale, in a few words, or an empty string. A run without a record is broken, not stale."""
        try:
            changed = self._changed(run, run.info)
        except KeyError as error:  # its record is from before this part was recorded
            return f"its record lacks {error.args[0]}"
        except (OSError, TypeError):
            return ""
        except ValueError as error:  # a template or params file that no longer fits the run
            return str(error).splitlines()[0]
        if changed:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            return f"changed since: {', '.join(changed[:3])}{more}"
        read = run.info.get("read", {}).items()
        again = [name for name, was in read if paths.file_hash(run.folder.parent / name / "run_info.json") != was]
        return f"{RAN_AGAIN}: {', '.join(again)}" if again else ""

    def _changed(self, run: ExecutedRun, info: dict) -> list[str]:
        fingerprints = self._fingerprints(run.preset)
        file, earlier = paths.params_file(run.preset, run.name), info["parameters"]
        given = load_params_file(file) if file.is_file() else earlier
        parameters = resolve(read_parameters(paths.root() / "notebooks" / run.path.name), given)
        now = fingerprints.inputs(run.template, parameters)
        if now.fingerprint == info["fingerprint"]:
            return []
        changed = ["the notebook"] if now.notebook != info["notebook_hash"] else []
        changed += differing(now.lib, info["lib_hashes"])
        changed += [f"params {name}" for name in differing(parameters, earlier)]
        changed += ["data"] if now.data and fingerprints.data != info["data"] else []
        changed += [f"preset {part}" for part in differing(now.preset, info["preset_hashes"])]
        above = [self._runs.get((run.preset, name)) for name in upstream_names(earlier)]
        return changed + [f"upstream {upstream.name}" for upstream in above if upstream and self.of(upstream)]
