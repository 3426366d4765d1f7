"""A run: one executed notebook, one folder, one params file. `start` opens it in the notebook's setup cell.

    run = start("30_grpo", globals())
    policy = run.model_path(policy)
    with run.phase("train"):
        ...
    run.save_json("metrics.json", metrics)
    run.finish({"accepted_at_1": 0.31})

papermill (through this project's plug-in) stages the folder `artifacts/<preset>/<run>/`; in JupyterLab a run goes to
`artifacts/scratch/<run>/` and never touches committed evidence. Nothing printed or saved here holds a machine's path.
"""

import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from lib.runs import environment, paths
from lib.runs.fingerprint import STAMP, Fingerprints, finish_mark, upstream_names, write_stamp
from lib.runs.parameters import load_params_file, read_parameters, resolve, run_name
from lib.runs.record import Evidence, to_json
from lib.runs.requirements import require


class UpstreamError(RuntimeError):
    """A run that this one reads has not been made; the message names the command which makes it."""


def start(notebook: str, values: dict) -> "Run":
    """Opens the run of a notebook: validates its parameters, seeds, makes the folder, prints what it runs on.

    `notebook`: the template's name without its suffix. `values`: the notebook's `globals()`, of which the names in its
    parameters cell are read. Raises lib.runs.requirements.MissingError, before anything is done, when this machine lacks
    what the preset needs; ValueError for a value of the wrong type, an unknown preset, or parameters that
    changed after papermill had named the run; FileExistsError where the folder holds files that are no run's.
    """
    template = paths.root() / "notebooks" / f"{notebook}.ipynb"
    declared = read_parameters(template)
    parameters = resolve(declared, {name: values[name] for name in declared if name in values})
    name = run_name(notebook, parameters, paths.root() / "params")
    staged = os.environ.get("RLVR_RUN_NAME")
    if staged and staged != name:
        raise ValueError(
            f"papermill staged the run {staged}, but the parameters are now those of {name}: "
            "a cell before start() changed one; set parameters only in the cell tagged `parameters`, or with -p"
        )
    preset = _load_preset(parameters["preset"])
    environment.keep_quiet(offline=_is_local(preset.get("base_model")))
    return Run(notebook, name, parameters, preset)


class Run:
    """An open run. Made by `start`.

    `name`, `folder` (Path), `params` (resolved parameters), `preset` (what `params/<preset>/preset.yaml` holds),
    `ledger`: None, or what the part that opens data sets keeps of its reads; asked for permission before a phase.
    """

    def __init__(self, notebook: str, name: str, params: dict, preset: dict):
        self.notebook, self.name, self.params, self.preset = notebook, name, params, preset
        self._began = time.perf_counter()
        fingerprints = Fingerprints(params["preset"])
        packages = fingerprints.packages(notebook)
        if environment.USING_TORCH & packages:
            require(preset)
        self._inputs = fingerprints.inputs(notebook, params)
        # Read now: what counts is the upstream run that this one sees, not one that replaces it meanwhile.
        self._upstream = {run: finish_mark(params["preset"], run) for run in upstream_names(params)}
        self.folder = _clean_folder(notebook, name)
        self.ledger = None
        environment.seed_everything(params["seed"], preset.get("threads"), packages)
        self._info = {
            "run": name,
            "notebook": notebook,
            "preset": params["preset"],
            "parameters": params,
            "seed": params["seed"],
            "fingerprint": self._inputs.fingerprint,
            "notebook_hash": self._inputs.notebook,
            "lib_hashes": self._inputs.lib,
            "preset_hashes": self._inputs.preset,
            "data": fingerprints.data,
            **environment.describe(),
            "threads": preset.get("threads"),
            "phases": {},
            "read": {},
            "status": "running",
        }
        self._save_info()
        print(self._headline())

    def upstream(self, name: str, needs: str | None = None) -> Path:
        """The folder of a finished run that a parameter of this one names; `needs`: a file or folder it must hold.

        Raises UpstreamError, naming the command that makes it, when it is missing; ValueError when no parameter names
        it, because those names are all that the matrix knows of the order of runs.
        """
        if name not in self._upstream:
            raise ValueError(f"no parameter of {self.name} names the run {name!r}: add it to the notebook's parameters")
        preset = self.params["preset"]
        folder = paths.artifacts() / preset / name
        info = folder / "run_info.json"
        if not info.is_file() or json.loads(info.read_text())["status"] != "finished":
            problem = f"{self.name} needs the run {name}, which has not been made"
        elif needs and not (folder / needs).exists():
            problem = (
                f"{self.name} needs {needs} of the run {name}, of which only the results are here, as in a fresh clone"
            )
        else:
            # which execution of that run this one has read: a later one gives another file
            self._info["read"][name] = _digest(info)
            return folder
        raise UpstreamError(f"{problem}. Make it with\n{_commands(preset, name)}")

    @property
    def scratch(self) -> Path:
        """A folder that outlives this run when it is killed, for what the next attempt with the same code goes on from.

        It goes when the run finishes.
        """
        interrupted = paths.artifacts() / "scratch" / "interrupted" / self.params["preset"] / self.name
        return interrupted / self._inputs.fingerprint[:12]

    def model_path(self, policy: str) -> str:
        """Where the weights of a policy are: of the preset's base model for "base", else of the run named `policy`.

        A folder of this machine, or a hub name when the preset's base model is on the hub.
        """
        if policy != "base":
            return str(self.upstream(policy, needs="model") / "model")
        model = self.preset["base_model"]
        return str(paths.root() / model) if _is_local(model) else model

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the wall seconds spent inside to the phase `name` of run_info.json, also when it ends in an error.

        Raises RoleError for the phases `train` and `select` once the run has opened a test set.
        """
        if self.ledger is not None:
            self.ledger.require_phase(name)
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = self._info["phases"].get(name, 0.0) + time.perf_counter() - began
            self._info["phases"][name] = round(seconds, 2)
            self._save_info()

    def save_json(self, name: str, value: object) -> None:
        """Saves `value` in the run's folder: keys sorted, NaN and infinities as null, NumPy numbers as numbers."""
        paths.write_atomically(self._file(name), to_json(value))

    def save_text(self, name: str, text: str) -> None:
        """Saves text, such as the lines of a log, in the run's folder."""
        paths.write_atomically(self._file(name), text)

    def save_table(self, name: str, table) -> None:
        """Saves a pandas DataFrame as CSV without its index."""
        paths.write_atomically(self._file(name), table.to_csv(index=False, lineterminator="\n"))

    def save_figure(self, name: str, figure, alt: str) -> None:
        """Saves a matplotlib figure as `figures/<name>.png`, shows it with the alternative text `alt`, and closes it.

        100 dpi and 128 colours, a quarter of the bytes, so that executed notebooks stay small; no metadata, so that the
        same figure gives the same file. `alt`: a sentence with what a reader should see, for those who cannot see it.
        """
        from IPython.display import Image, display  # here: runs that draw nothing, and the judge, need none of these
        from matplotlib import pyplot
        from PIL import Image as Picture

        if not alt.strip():
            raise ValueError(f"figure {name}: alt is empty; describe in a sentence what the figure shows")
        drawn, image = io.BytesIO(), io.BytesIO()
        figure.savefig(drawn, format="png", dpi=100, bbox_inches="tight")
        pyplot.close(figure)
        # an octree keeps rare colours, such as a line's in the legend; the median cut mixes them with others
        Picture.open(drawn).convert("RGB").quantize(128, method=Picture.Quantize.FASTOCTREE).save(image, "png")
        paths.write_atomically(self._file(f"figures/{name}.png"), image.getvalue())
        display(Image(image.getvalue(), alt=alt))

    def finish(self, summary: dict) -> Evidence:
        """Ends the run: writes summary.json and the stamp that lets the matrix skip it; gives the evidence record.

        `summary`: the numbers this run stands for; its `headline`, a short sentence, is shown in the matrix's table.
        Show the record as the last expression of the notebook's evidence cell.
        """
        self.save_json("summary.json", summary)
        self._info["status"] = "finished"
        self._info["files"] = {path.relative_to(self.folder).as_posix(): _digest(path) for path in self._results()}
        self._save_info()
        write_stamp(self.folder, self._inputs, self._upstream)
        shutil.rmtree(self.scratch.parent, ignore_errors=True)
        keys = ("run", "notebook", "preset", "seed", "commit", "dirty", "parameters", "fingerprint")
        return Evidence({**{key: self._info[key] for key in keys}, "summary": summary})

    def _file(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts:
            raise ValueError(f"a run's file is named relative to the run's folder, without `..`: {name!r} is not")
        return self.folder / name

    def _results(self) -> list[Path]:
        """The files that git would take, but for the notebook and run_info.json, which are being written."""
        unfinished = re.compile(rf"{self.notebook}\.ipynb.*|run_info\.json|(.*/)?(\.|(model|checkpoints)/).*|.*\.log")
        named = {path.relative_to(self.folder).as_posix(): path for path in self.folder.rglob("*") if path.is_file()}
        return [path for name, path in sorted(named.items()) if not unfinished.fullmatch(name)]

    def _save_info(self) -> None:
        self._info["seconds"] = round(time.perf_counter() - self._began, 2)
        self.save_json("run_info.json", self._info)

    def _headline(self) -> str:
        info = self._info
        commit = f"commit {info['commit'][:10]}" if info["commit"] else "no commit"
        changes = " with changes" if info["dirty"] else ""
        threads = f", {info['threads']} threads" if info["threads"] else ""
        versions = ", ".join(f"{package} {version}" for package, version in info["packages"].items())
        return (
            f"{self.name}: preset {info['preset']}, seed {info['seed']}, {commit}{changes}\n"
            f"Python {info['python']}, {versions}\n"
            f"{info['machine']['device']}, {info['cores']} cores{threads}"
        )


def _load_preset(preset: str) -> dict:
    folder = paths.root() / "params"
    file = folder / preset / "preset.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.parent.name for path in folder.glob("*/preset.yaml"))) or "none"
        raise ValueError(f"no preset {preset!r}: params/{preset}/preset.yaml is missing (presets: {known})")
    return load_params_file(file)


def _is_local(model: str | None) -> bool:
    return bool(model) and (paths.root() / model).is_dir()


def _clean_folder(notebook: str, name: str) -> Path:
    """Makes the run's folder and removes an earlier run from it, so that no file of two runs ever mixes."""
    staged = os.environ.get("RLVR_RUN_FOLDER")
    folder = Path(staged) if staged else paths.artifacts() / "scratch" / name
    folder.mkdir(parents=True, exist_ok=True)
    # the notebook under execution, and what the plug-in keeps beside it (hidden files), stay
    earlier = [
        path for path in folder.iterdir() if path.name == STAMP or not path.name.startswith((".", f"{notebook}.ipynb"))
    ]
    if earlier and not (folder / "run_info.json").is_file():
        names = ", ".join(sorted(path.name for path in earlier)[:3])
        raise FileExistsError(
            f"the folder {folder.name} meant for {name} holds files that are no run's ({names}): "
            "move them away or give another output path"
        )
    for path in earlier:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return folder


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _commands(preset: str, run: str) -> str:
    notebook = run.split("-")[0]
    params = paths.root() / "params" / preset / f"{run}.yaml"
    if not params.is_file():
        return f"  papermill notebooks/{notebook}.ipynb -p preset {preset} …\nwith the parameters that its name tells"
    return (
        f"  python -m lib.matrix {preset} {run}\n"
        "or, when what that run needs itself is there,\n"
        f"  papermill notebooks/{notebook}.ipynb -f params/{preset}/{run}.yaml"
    )
