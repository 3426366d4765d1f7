"""Decides whether a run is up to date: hashes everything that its numbers depend on.

The inputs of a run are the code of its notebook, the modules of `lib` that this code can reach (`lib.runs.sources`),
its resolved parameters, the preset, the data files, and the inputs of the runs that the parameters name.

1. A part of the preset is an input of the runs whose code names it, so a new part leaves the other runs as they are.
2. `NO_INPUT` lists packages that make no number: bookkeeping and presentation. Two exceptions: seeding is an input of
   every run, and `lib.report` is an input of the notebooks numbered 9x, whose product it is.
3. The notebook numbered 00 makes the data files, so they are not among its inputs.

A finished run leaves a stamp (`.local.json`, not committed) with its inputs; `Fingerprints.reasons` compares.
"""

import datetime
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from . import paths
from .parameters import read_parameters, resolve
from .params_files import load_params_file
from .sources import Sources, digest

STAMP = ".local.json"
NO_INPUT = ("lib.runs", "lib.evidence", "lib.problems.ledger", "lib.report")
SEEDING = "lib.runs.environment"
RUN_NAME = re.compile(r"(?P<notebook>\d\d_\w+)(-[^\s,]+)?-s\d+")


def notebook_of(run: str) -> str:
    """The notebook that makes a run: `30_grpo` for `30_grpo-sparse-s0`. Raises ValueError if it is no run's name."""
    match = RUN_NAME.fullmatch(run)
    if not match:
        raise ValueError(f"{run!r} is not the name of a run: expected <notebook>[-<variant>]-s<seed>")
    return match["notebook"]


def upstream_names(parameters: dict) -> list[str]:
    """The runs that parameters name: string values, or parts of them between commas or spaces, that name a run."""
    words = (word for value in parameters.values() if isinstance(value, str) for word in re.split(r"[,\s]+", value))
    return sorted({word for word in words if RUN_NAME.fullmatch(word)})


def data_versions(preset: str) -> dict[str, str]:
    """The preset's data files and their sha256, and the frozen lists (manifests) of the sets that the preset names.

    `data/<preset>/SHA256SUMS` may list a file by its unpacked content; files that it does not list are hashed here.
    """
    data = paths.root() / "data"
    folder, index, preset_file = data / preset, data / "manifests" / "index.json", paths.params_file(preset, "preset")
    sums = folder / "SHA256SUMS"
    lines = sums.read_text().splitlines() if sums.is_file() else []
    versions = {name.lstrip("*"): checksum for checksum, name in (line.split(maxsplit=1) for line in lines)}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        listed = {name, name.removesuffix(".xz")} & versions.keys()
        if path.is_file() and path != sums and path.suffix != ".md" and not listed:
            versions[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if index.is_file() and preset_file.is_file():
        sets = load_params_file(preset_file).get("sets", {}).values()
        frozen_sets = {f"{chosen['source']}-{chosen['split']}" for chosen in sets}
        frozen = json.loads(index.read_text()).items()
        versions |= {
            f"manifests/{name}": entry["sha256"] for name, entry in frozen if name.split(".")[0] in frozen_sets
        }
    return versions


@dataclass(frozen=True)
class Inputs:
    """Everything that a run depends on, each part as a hash of 16 hexadecimal digits."""

    notebook: str
    lib: dict[str, str]  # module -> hash
    params: str  # the resolved parameters
    preset: dict[str, str]  # part that the code names -> hash
    data: str
    upstream: dict[str, str]  # run -> its fingerprint

    @cached_property
    def fingerprint(self) -> str:
        return digest(asdict(self))

    def changes(self, earlier: dict) -> list[str]:
        """The parts that differ from an earlier `asdict(inputs)`, in words."""
        changes = [part for part in ("notebook", "params", "data") if getattr(self, part) != earlier.get(part)]
        for part, prefix in (("preset", "preset "), ("lib", ""), ("upstream", "upstream ")):
            changes += [prefix + name for name in differing(getattr(self, part), earlier.get(part, {}))]
        return changes


def differing(now: dict, then: dict) -> list[str]:
    """The keys whose values differ, or which only one of two mappings has."""
    return [name for name in sorted(now.keys() | then.keys()) if now.get(name) != then.get(name)]


class Fingerprints:
    """The inputs of a preset's runs. Each file is read once: make a new object to see later changes."""

    def __init__(self, preset: str):
        self.preset = preset
        self.data = data_versions(preset)
        self._sources = Sources(paths.root())
        self._preset_values = load_params_file(paths.params_file(preset, "preset"))
        self._runs: dict[str, Inputs] = {}

    def of(self, run: str, readers: tuple[str, ...] = ()) -> Inputs:
        """The inputs of a run that has a params file. `readers`: the runs for which this run is examined.

        Raises ValueError if runs need each other in a circle.
        """
        if run in readers:
            raise ValueError(f"runs need each other in a circle: {' -> '.join((*readers, run))}")
        if run not in self._runs:
            notebook, given = notebook_of(run), load_params_file(paths.params_file(self.preset, run))
            parameters = resolve(read_parameters(paths.template(notebook)), given)
            self._runs[run] = self.inputs(notebook, parameters, (*readers, run))
        return self._runs[run]

    def inputs(self, notebook: str, parameters: dict, readers: tuple[str, ...] = ()) -> Inputs:
        """The inputs of a run of `notebook` with these resolved parameters."""
        left_out = [name for name in NO_INPUT if name != "lib.report" or not notebook.startswith("9")]
        modules = [*self._sources.reachable(notebook, left_out)[0], SEEDING]
        sources = {name: self._sources.module(name) for name in modules}
        code = [self._sources.notebook(notebook), self._sources.module("lib.runs.run"), *sources.values()]
        named = set().union(*(source.words for source in code))
        return Inputs(
            notebook=code[0].hash,
            lib={name: source.hash for name, source in sources.items()},
            params=digest(parameters),
            preset={part: digest(value) for part, value in sorted(self._preset_values.items()) if part in named},
            data="" if notebook.startswith("00_") else digest(self.data),
            upstream={name: self._upstream(name, readers) for name in upstream_names(parameters)},
        )

    def packages(self, notebook: str) -> set[str]:
        """The packages other than `lib` that a notebook and its modules import, except those of lib.runs itself."""
        return self._sources.reachable(notebook, ["lib.runs"])[1]

    def reasons(self, run: str) -> list[str]:
        """The reasons to execute a run; an empty list if its results are up to date."""
        folder = paths.run_folder(self.preset, run)
        inputs, stamp = self.of(run), read_stamp(folder)
        if stamp is None:
            return ["never run here"]
        if changes := inputs.changes(stamp["inputs"]):
            return [f"changed: {', '.join(changes)}"]
        if missing := [name for name in stamp["results"] if not (folder / name).exists()]:
            return [f"missing: {', '.join(missing)}"]
        again = [name for name, mark in stamp["upstream"].items() if mark != finish_mark(self.preset, name)]
        return [f"upstream {name} ran again" for name in again]

    def _upstream(self, run: str, readers: tuple[str, ...]) -> str:
        if paths.params_file(self.preset, run).is_file():
            return self.of(run, readers).fingerprint
        stamp = read_stamp(paths.run_folder(self.preset, run))  # a run started by hand has no params file
        return stamp["fingerprint"] if stamp else ""


def write_stamp(folder: Path, inputs: Inputs, upstream: dict[str, str | None]) -> None:
    """Writes a run's inputs into its folder. `upstream`: the finish marks of the runs that it has read."""
    results = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {"checkpoints"}
    stamp = {
        "fingerprint": inputs.fingerprint,
        "inputs": asdict(inputs),
        "upstream": upstream,
        "results": sorted(results),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(),
    }
    paths.write_atomically(folder / STAMP, json.dumps(stamp, indent=2, sort_keys=True) + "\n")


def read_stamp(folder: Path) -> dict | None:
    """The stamp of a run that finished on this machine, or None."""
    try:
        return json.loads((folder / STAMP).read_text())
    except FileNotFoundError:
        return None


def finish_mark(preset: str, run: str) -> str | None:
    """The time at which a run finished here, which distinguishes its executions; None if it never did."""
    stamp = read_stamp(paths.run_folder(preset, run))
    return stamp["finished"] if stamp else None
