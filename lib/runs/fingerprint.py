"""Fingerprints: all that a run's numbers depend on, as one hash. A run is up to date as long as that has not changed.

The inputs of a run are the code of its notebook, the modules of `lib` that this code can reach (`lib.runs.sources` says what
counts), its resolved parameters, the preset, the data files, and the inputs of the runs that the parameters name.

1. A part of the preset counts for a run whose code names it: one for a new notebook leaves the others as they are.
2. Left out: plots and tables (except in the notebooks numbered 9x, whose product they are) and the bookkeeping, which
   names, places and records runs but makes no number of them.
3. The notebook numbered 00 makes the data files, so they are no input of it.

A finished run leaves a stamp (`.local.json`, not committed) with the inputs it had; `Fingerprints.reasons` compares.
"""

import datetime
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from lib.runs import paths
from lib.runs.parameters import load_params_file, read_parameters, resolve
from lib.runs.sources import Sources, digest

STAMP = ".local.json"
PRESENTATION = frozenset({"lib.report.plots", "lib.report.tables"})
BOOKKEEPING = frozenset(
    {f"lib.runs.{name}" for name in ("fingerprint", "parameters", "paths", "record", "requirements", "sources")}
    | {"lib.evidence", "lib.problems.ledger"}
)
DOOR = "lib.runs.run"  # bookkeeping as well, but seeding (lib.runs.environment) lies behind it

RUN_NAME = re.compile(r"(?P<notebook>\d\d_\w+)(-[^\s,]+)?-s\d+")


def upstream_names(parameters: dict) -> list[str]:
    """The runs that parameters name: string values, or parts of them between commas or spaces, that read as a run."""
    words = (word for value in parameters.values() if isinstance(value, str) for word in re.split(r"[,\s]+", value))
    return sorted({word for word in words if RUN_NAME.fullmatch(word)})


def data_versions(preset: str) -> dict[str, str]:
    """The preset's data files and their sha256: as `data/<preset>/SHA256SUMS` says, which may list a file by what it
    holds when unpacked; computed for the files that it does not list, such as the base model's. The manifests of the
    sets that the preset names are among them: they say what of a set is used."""
    folder = paths.root() / "data" / preset
    sums = folder / "SHA256SUMS"
    lines = sums.read_text().splitlines() if sums.is_file() else []
    versions = {name.lstrip("*"): checksum for checksum, name in (line.split(maxsplit=1) for line in lines)}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        listed = {name, name.removesuffix(".xz")} & versions.keys()
        if path.is_file() and path != sums and path.suffix != ".md" and not listed:
            versions[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    index = paths.root() / "data" / "manifests" / "index.json"
    file = paths.root() / "params" / preset / "preset.yaml"
    if index.is_file() and file.is_file():
        sets = load_params_file(file).get("sets", {}).values()
        places = {f"{chosen['source']}-{chosen['split']}" for chosen in sets}
        frozen = json.loads(index.read_text()).items()
        versions |= {f"manifests/{name}": one["sha256"] for name, one in frozen if name.partition(".")[0] in places}
    return versions


@dataclass(frozen=True)
class Inputs:
    """What a run depends on, each part as a hash: 16 hexadecimal digits."""

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
        """The parts that differ from an earlier `asdict(inputs)`, named as a person would."""
        found = [part for part in ("notebook", "params", "data") if getattr(self, part) != earlier.get(part)]
        for part, prefix in (("preset", "preset "), ("lib", ""), ("upstream", "upstream ")):
            now, before = getattr(self, part), earlier.get(part, {})
            found += [prefix + name for name in sorted(now.keys() | before.keys()) if now.get(name) != before.get(name)]
        return found


class Fingerprints:
    """The inputs of a preset's runs. One object reads each file once: make a new one to see what changed since."""

    def __init__(self, preset: str):
        self.preset = preset
        self.data = data_versions(preset)
        self._root = paths.root()
        self._sources = Sources(self._root)
        self._preset_values = load_params_file(self._root / "params" / preset / "preset.yaml")
        self._runs: dict[str, Inputs] = {}
        self._open: list[str] = []  # the runs on the way down to the one being looked at

    def of(self, run: str) -> Inputs:
        """The inputs of a run that has a params file. Raises ValueError when runs name each other in a circle."""
        if run in self._open:
            raise ValueError(f"runs name each other in a circle: {' -> '.join((*self._open, run))}")
        if run not in self._runs:
            notebook = RUN_NAME.fullmatch(run)["notebook"]
            given = load_params_file(self._root / "params" / self.preset / f"{run}.yaml")
            self._open.append(run)
            try:
                self._runs[run] = self.inputs(
                    notebook, resolve(read_parameters(self._root / "notebooks" / f"{notebook}.ipynb"), given)
                )
            finally:
                self._open.pop()
        return self._runs[run]

    def inputs(self, notebook: str, parameters: dict) -> Inputs:
        """The inputs of a run of `notebook` with these resolved parameters."""
        left_out = BOOKKEEPING if notebook.startswith("9") else BOOKKEEPING | PRESENTATION
        modules, _ = self._sources.reachable(notebook, left_out)
        named = self._sources.words(notebook, {*modules, DOOR, *BOOKKEEPING})
        return Inputs(
            notebook=self._sources.notebook(notebook),
            lib={name: self._sources.module(name) for name in modules if name != DOOR},
            params=digest(parameters),
            preset={part: digest(value) for part, value in sorted(self._preset_values.items()) if part in named},
            data="" if notebook.startswith("00_") else digest(self.data),
            upstream={name: self._upstream(name) for name in upstream_names(parameters)},
        )

    def packages(self, notebook: str) -> set[str]:
        """Packages other than `lib` that the notebook, or a module it can reach, imports; what seeds them aside."""
        return self._sources.reachable(notebook, BOOKKEEPING | {"lib.runs.environment"})[1]

    def reasons(self, run: str) -> list[str]:
        """Why a run must be executed; an empty list when its results are up to date."""
        folder = paths.artifacts() / self.preset / run
        inputs, stamp = self.of(run), read_stamp(folder)
        if stamp is None:
            return ["never run here"]
        changes = inputs.changes(stamp["inputs"])
        if changes:
            return [f"changed: {', '.join(changes)}"]
        missing = [name for name in stamp["results"] if not (folder / name).exists()]
        if missing:
            return [f"missing: {', '.join(missing)}"]
        again = [name for name, mark in stamp["upstream"].items() if mark != finish_mark(self.preset, name)]
        return [f"upstream {name} ran again" for name in again]

    def _upstream(self, run: str) -> str:
        if (self._root / "params" / self.preset / f"{run}.yaml").is_file():
            return self.of(run).fingerprint
        stamp = read_stamp(paths.artifacts() / self.preset / run)  # a run made by hand has no params file
        return stamp["fingerprint"] if stamp else ""


def write_stamp(folder: Path, inputs: Inputs, upstream: dict[str, str | None]) -> None:
    """Leaves in a run's folder what it was made from. `upstream`: the finish marks of the runs it has read."""
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
    """Tells one execution of a run from the next: when it finished here, or None."""
    stamp = read_stamp(paths.artifacts() / preset / run)
    return stamp["finished"] if stamp else None
