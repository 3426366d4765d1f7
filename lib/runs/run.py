"""A run: one executed notebook, one folder, one params file. `start` opens it in the notebook's setup cell.

    run = start("30_grpo", globals())
    policy = run.model_path(policy)
    with run.phase("train"):
        ...
    run.save_json("metrics.json", metrics)
    run.finish({"accepted_at_1": 0.31})

papermill (through this package's plug-in) stages the folder `artifacts/<preset>/<run>/`. In JupyterLab a run goes to
`artifacts/scratch/<run>/` and never touches committed evidence. Nothing printed or saved here holds a machine's path.
"""

import io
import json
import os
import re
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import environment, paths
from .fingerprint import STAMP, Fingerprints, finish_mark, notebook_of, upstream_names, write_stamp
from .parameters import read_parameters, resolve, run_name
from .params_files import load_preset
from .record import Evidence, to_json
from .requirements import require

PRIVATE = r"run_info\.json|(.*/)?(\.|(model|checkpoints)/).*|.*\.log"  # files of a run that are no results


class UpstreamError(RuntimeError):
    """A run that this run reads is missing; the message contains the command that makes it."""


def start(notebook: str, values: dict) -> "Run":
    """Opens the run of a notebook: validates its parameters, seeds, makes the folder, prints commit and versions.

    `values`: the notebook's `globals()`, which hold the parameters. Raises, before anything is done, MissingError if
    this machine lacks something that the preset needs; ValueError for a value of the wrong type, an unknown preset, or
    parameters that a cell changed after papermill had named the run; FileExistsError if the folder holds files that
    belong to no run.
    """
    template = paths.template(notebook)
    declared = read_parameters(template)
    parameters = resolve(declared, {name: values[name] for name in declared if name in values})
    name = run_name(template, parameters)
    staged = os.environ.get("RLVR_RUN_NAME")
    if staged and staged != name:
        raise ValueError(
            f"papermill staged the run {staged}, but the parameters are now those of {name}: a cell before start() "
            "changed a parameter; set parameters only in the cell tagged `parameters`, or with -p"
        )
    preset = load_preset(parameters["preset"])
    environment.keep_quiet(offline=_is_local(preset.get("base_model")))
    return Run(notebook, name, parameters, preset)


class Run:
    """An open run, made by `start`.

    `name`; `folder` (Path); `params`, the resolved parameters; `preset`, the content of `params/<preset>/preset.yaml`;
    `ledger`, None or the object in which the code that opens data sets records its reads: `phase` asks its
    `require_phase(name)` for permission.
    """

    def __init__(self, notebook: str, name: str, params: dict, preset: dict):
        self.notebook, self.name, self.params, self.preset = notebook, name, params, preset
        self.ledger: Any = None
        self._began = time.perf_counter()
        fingerprints = Fingerprints(params["preset"])
        packages = fingerprints.packages(notebook)
        if environment.USING_TORCH & packages:
            require(preset)
        self._inputs = fingerprints.inputs(notebook, params)
        # Read now: this run sees the present upstream runs, not those that may replace them meanwhile.
        self._upstream = {run: finish_mark(params["preset"], run) for run in upstream_names(params)}
        self.folder = _clean_folder(notebook, name)
        environment.seed_everything(params["seed"], preset.get("threads"), packages)
        self._info: dict[str, Any] = {
            "run": name,
            "notebook": notebook,
            "preset": params["preset"],
            "base_model": preset.get("base_model"),
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
        print(environment.headline(self._info))

    def upstream(self, name: str, needs: str | None = None) -> Path:
        """The folder of a finished run that a parameter of this run names; `needs`: a file or folder it must hold.

        Raises UpstreamError, with the command that makes it, if it is missing; ValueError if no parameter names it,
        because the matrix knows the order of runs from parameters alone.
        """
        if name not in self._upstream:
            raise ValueError(f"no parameter of {self.name} names the run {name!r}: add it to the notebook's parameters")
        folder = find_upstream(self.name, self.params["preset"], name, needs)
        self._info["read"][name] = paths.file_hash(folder / "run_info.json")  # each execution writes another file
        return folder

    @property
    def scratch(self) -> Path:
        """A folder for checkpoints: it outlives this run if that is killed, and the next attempt resumes from it.

        Only an attempt with the same code and parameters finds it. It is deleted when the run finishes.
        """
        interrupted = paths.artifacts() / "scratch" / "interrupted" / self.params["preset"] / self.name
        return interrupted / self._inputs.fingerprint[:12]

    def model_path(self, policy: str) -> str:
        """The weights of a policy: the preset's base model for "base", else those of the run named `policy`.

        A folder of this machine, or a hub name if the preset's base model is on the hub.
        """
        if policy != "base":
            return str(self.upstream(policy, needs="model") / "model")
        model = self.preset["base_model"]
        return str(paths.root() / model) if _is_local(model) else model

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Adds the wall seconds spent inside to the phase `name` of run_info.json, also after an error.

        Raises the ledger's error for the phases `train` and `select` if the run has opened a test set.
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
        same figure gives the same file. `alt`: a sentence that describes the figure to readers who cannot see it.
        """
        from IPython.display import Image, display  # here, because runs without figures need none of these
        from matplotlib import pyplot
        from PIL import Image as Picture

        if not alt.strip():
            raise ValueError(f"figure {name}: alt is empty; describe in a sentence what the figure shows")
        drawn, image = io.BytesIO(), io.BytesIO()
        figure.savefig(drawn, format="png", dpi=100, bbox_inches="tight")
        pyplot.close(figure)
        # an octree keeps rare colours, such as a line's in the legend; the median cut mixes them with others
        picture = Picture.open(drawn).convert("RGB").quantize(128, method=Picture.Quantize.FASTOCTREE)
        picture.save(image, "png", optimize=True)
        paths.write_atomically(self._file(f"figures/{name}.png"), image.getvalue())
        display(Image(image.getvalue(), alt=alt))

    def finish(self, summary: dict) -> Evidence:
        """Ends the run: writes summary.json and the stamp that lets the matrix skip it; returns the evidence record.

        `summary`: the main results of this run; its `headline`, a short sentence, appears in the matrix's table.
        Show the record as the last expression of the notebook's evidence cell.
        """
        self.save_json("summary.json", summary)
        self._info["status"] = "finished"
        files = {path.relative_to(self.folder).as_posix(): path for path in self.folder.rglob("*") if path.is_file()}
        results = sorted(name for name in files if not re.fullmatch(rf"{self.notebook}\.ipynb.*|{PRIVATE}", name))
        self._info["files"] = {name: paths.file_hash(files[name]) for name in results}
        self._save_info()
        write_stamp(self.folder, self._inputs, self._upstream)
        shutil.rmtree(self.scratch.parent, ignore_errors=True)
        keys = ("run", "notebook", "preset", "seed", "commit", "dirty", "parameters", "fingerprint")
        return Evidence({**{key: self._info[key] for key in keys}, "summary": summary})

    def _file(self, name: str) -> Path:
        if not name or name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name!r}: name a file relative to the run's folder, without `..`")
        return self.folder / name

    def _save_info(self) -> None:
        self._info["seconds"] = round(time.perf_counter() - self._began, 2)
        self.save_json("run_info.json", self._info)


def _is_local(model: str | None) -> bool:
    return bool(model) and (paths.root() / str(model)).is_dir()


def _clean_folder(notebook: str, name: str) -> Path:
    """Makes the run's folder and removes an earlier run from it, so that files of two runs never mix."""
    staged = os.environ.get("RLVR_RUN_FOLDER")
    folder = Path(staged) if staged else paths.artifacts() / "scratch" / name
    folder.mkdir(parents=True, exist_ok=True)
    # the notebook under execution and the plug-in's hidden files stay
    kept = (".", f"{notebook}.ipynb")
    earlier = [path for path in folder.iterdir() if path.name == STAMP or not path.name.startswith(kept)]
    if earlier and not (folder / "run_info.json").is_file():
        names = ", ".join(sorted(path.name for path in earlier)[:3])
        raise FileExistsError(
            f"the folder {folder.name} for the run {name} holds files that belong to no run ({names}): "
            "move them away or choose another output path"
        )
    for path in earlier:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return folder


def find_upstream(run: str, preset: str, name: str, needs: str | None = None) -> Path:
    """The folder of the finished run `name`, which `run` reads. Raises UpstreamError, as `Run.upstream` does."""
    folder = paths.run_folder(preset, name)
    info = folder / "run_info.json"
    if not info.is_file() or json.loads(info.read_text())["status"] != "finished":
        problem = f"{run} needs the run {name}, which has not finished on this machine"
    elif needs and not (folder / needs).exists():
        problem = f"{run} needs {needs} of the run {name}; only its results are here, as in a fresh clone"
    else:
        return folder
    raise UpstreamError(f"{problem}. Make it with\n{_commands(preset, name)}")


def _commands(preset: str, run: str) -> str:
    notebook = f"notebooks/{notebook_of(run)}.ipynb"
    if not paths.params_file(preset, run).is_file():
        return f"  papermill {notebook} -p preset {preset} …\nwith the parameters in its name"
    return (
        f"  python -m lib.matrix {preset} {run}\n"
        "or, if the runs that it needs are here,\n"
        f"  papermill {notebook} -f params/{preset}/{run}.yaml"
    )
