"""The real papermill command on templates of a small repository, at a terminal, in pipes and under signals."""

import base64
import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import nbformat
import pytest

from lib.runs import paths
from lib.runs.record import output_hash

PARAMETERS = """
preset: str = "tiny"  # a folder of params/
seed: int = 0
reward: str = "dense"  # dense | sparse: what a program earns
steps: int = 100  # of the optimizer
learning_rate: float = 1e-4
commit: str = ""
"""
WORK = """
import os, sys, warnings
from pathlib import Path
folder = Path(os.environ["RLVR_RUN_FOLDER"])
folder.mkdir(parents=True, exist_ok=True)
(folder / "metrics.json").write_text("{}")
(folder / "pid").write_text(str(os.getpid()))
print(reward, steps, learning_rate, repr(commit), os.environ["RLVR_RUN_NAME"])
"""
PLACES = """
import json, lib
warnings.warn("somewhere")
print(folder, lib.__file__, json.__file__, sys.executable, Path.home() / "x", list({"a", "b", "c"}), object())
"""
BAR = """
from tqdm.notebook import tqdm
for _ in tqdm(range(3), disable=False):
    print(".", end="", flush=True)
"""
BARS = """
import datasets, tqdm.auto, transformers.utils.logging
bars = tqdm.auto.tqdm, tqdm.tqdm, transformers.utils.logging.tqdm, datasets.utils.tqdm
print([bool(bar(total=1).disable) for bar in bars])
"""
SLEEP = 'import time\nprint("asleep", flush=True)\ntime.sleep(100)'


class Repository:
    """A repository with our plug-in and templates of its own, and papermill as it is typed there."""

    def __init__(self, root: Path):
        self.root = root
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(paths.root() / "lib" / "runs", root / "lib" / "runs", ignore=ignored)
        (root / "lib" / "__init__.py").touch()
        (root / "rlvr_papermill").symlink_to("lib/runs/papermill")  # which the installed package is called
        (root / "params" / "tiny").mkdir(parents=True)
        (root / "params/tiny/preset.yaml").write_text("threads: 2\n")
        (root / "params/tiny/30_grpo-dense-s0.yaml").write_text("reward: dense\n")
        (root / "params/tiny/30_grpo-sparse-s0.yaml").write_text("reward: sparse\n")

    def template(self, name: str, *cells: str) -> Path:
        return write_notebook(self.root / "notebooks" / f"{name}.ipynb", *cells, parameters=PARAMETERS)

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "papermill", *map(str, arguments)]

    def environment(self, **more: str) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RLVR_")}
        return {**inherited, "PYTHONPATH": str(self.root), **more}

    def papermill(self, *arguments: object, cwd: Path | None = None, env: dict | None = None, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            self.command(*arguments),
            cwd=cwd or self.root,
            env=self.environment(**(env or {})),
            capture_output=True,
            text=True,
            timeout=120,
            **options,
        )

    def folder(self, run: str) -> Path:
        return self.root / "artifacts" / "tiny" / run

    def runs(self) -> list[str]:
        folder = self.root / "artifacts" / "tiny"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def write_notebook(path: Path, *cells: str, parameters: str = "x = 1") -> Path:
    tagged = [({"tags": ["parameters"]}, parameters.strip()), *(({}, cell.strip()) for cell in cells)]
    content = {
        "cells": [
            {"cell_type": "code", "id": f"cell-{number}", "metadata": metadata, "source": source}
            | {"outputs": [], "execution_count": None}
            for number, (metadata, source) in enumerate(tagged)
        ],
        "metadata": {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def source(notebook: dict, cell: str) -> str:
    return next("".join(c["source"]) for c in notebook["cells"] if c["id"] == cell)


def printed(notebook: dict) -> str:
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return "".join("".join(output.get("text", [])) for output in outputs)


def wait_until(condition, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "repository")


def test_at_a_terminal_a_run_goes_to_its_own_folder_and_a_bar_shows_progress(repository):
    repository.template("30_grpo", WORK)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen(
        repository.command("notebooks/30_grpo.ipynb", "-p", "reward", "sparse"),
        cwd=repository.root,
        env=repository.environment(TERM="xterm"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = b""
    with contextlib.suppress(OSError):  # how Linux says that the other side is closed
        while chunk := os.read(ours, 1000):
            screen += chunk
    os.close(ours)
    assert process.wait(10) == 0, screen.decode()
    assert b"Executing: 100%" in screen
    assert b"artifacts/tiny/30_grpo-sparse-s0/30_grpo.ipynb" in screen
    assert repository.runs() == ["30_grpo-sparse-s0"]
    folder = repository.folder("30_grpo-sparse-s0")
    assert sorted(path.name for path in folder.iterdir()) == ["30_grpo.ipynb", "metrics.json", "pid"]
    assert "sparse 100 0.0001 '' 30_grpo-sparse-s0" in printed(read(folder / "30_grpo.ipynb"))
    assert not is_alive(int((folder / "pid").read_text()))


def test_two_executions_say_the_same_wherever_they_start_and_hold_no_path_of_the_machine(repository):
    repository.template("30_grpo", WORK, PLACES, BAR)
    file = repository.folder("30_grpo-sparse-s0") / "30_grpo.ipynb"
    params = repository.root / "params/tiny/30_grpo-sparse-s0.yaml"

    first = repository.papermill("notebooks/30_grpo.ipynb", "-f", params)
    assert first.returncode == 0, first.stderr
    assert first.stdout == ""
    assert "%|" not in first.stderr
    (file.parent / "left over").touch()
    text = file.read_text()

    fifo, end = os.pipe()  # a FIFO on stdin, from which papermill alone would read the notebook
    folder = repository.root / "notebooks"
    second = repository.papermill("30_grpo.ipynb", "-p", "reward", "sparse", "-p", "seed", "0", cwd=folder, stdin=fifo)
    os.close(fifo)
    os.close(end)
    assert second.returncode == 0, second.stderr
    assert second.stdout == ""
    # the working directory is the only difference that there was, and it is not to be seen
    assert file.read_text() == text
    assert repository.runs() == ["30_grpo-sparse-s0"]
    assert not (file.parent / "left over").exists()

    for place in {str(repository.root), str(Path.home()), sys.prefix, sys.base_prefix, "/tmp"} - {"/usr", "/usr/local"}:
        assert place not in text
    notebook = read(file)
    assert "artifacts/tiny/30_grpo-sparse-s0 lib/__init__.py" in printed(notebook)
    assert "cell.py:2: UserWarning: somewhere" in printed(notebook)
    assert source(notebook, "injected-parameters") == '# Parameters\nreward = "sparse"'
    record = notebook["metadata"]["papermill"]
    assert record["run"] == "30_grpo-sparse-s0"
    assert record["parameters"]["reward"] == "sparse"
    assert record["parameters"]["steps"] == 100
    assert record["input_path"] == "notebooks/30_grpo.ipynb"
    assert record["output_path"] == "artifacts/tiny/30_grpo-sparse-s0/30_grpo.ipynb"
    assert "widgets" not in notebook["metadata"]  # there was nothing but a progress bar
    assert record["output_hash"] == output_hash(nbformat.read(file, as_version=4))
    assert record["output_hash"] != output_hash(nbformat.reads(text.replace("UserWarning", "Warning"), as_version=4))


def test_libraries_draw_no_progress_bars_in_a_run(repository):
    repository.template("30_grpo", BARS)
    assert repository.papermill("notebooks/30_grpo.ipynb").returncode == 0
    notebook = read(repository.folder("30_grpo-dense-s0") / "30_grpo.ipynb")
    # in a notebook tqdm.auto chooses a widget that heeds no variable: it is left out afterwards
    assert printed(notebook) == "[False, True, True, True]\n"
    assert "widgets" not in notebook["metadata"]


def test_a_closed_stdin_does_no_harm(repository):
    repository.template("30_grpo", WORK)
    command = repository.command("notebooks/30_grpo.ipynb")
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command],
        cwd=repository.root,
        env=repository.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert repository.runs() == ["30_grpo-dense-s0"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-p", "reward", "sparse", "-p", "learning_rate", "1e-5", "-b", base64.b64encode(b"commit: 12e4567").decode()),
        ("-f", "given.yaml", "-r", "commit", "12e4567", "-y", "reward: sparse"),
    ],
    ids=["-p -b", "-f -r -y"],
)
def test_parameters_of_every_style_arrive_with_the_types_of_the_template(repository, arguments):
    repository.template("30_grpo", WORK)
    (repository.root / "given.yaml").write_text("learning_rate: 1e-5\ncommit: overridden\nseed: 0\n")
    done = repository.papermill("notebooks/30_grpo.ipynb", "out.ipynb", "--prepare-only", *arguments)
    assert done.returncode == 0, done.stderr
    cells = read(repository.root / "out.ipynb")["cells"]
    injected = next("".join(cell["source"]) for cell in cells if "injected-parameters" in cell["metadata"]["tags"])
    assert sorted(injected.splitlines()[1:]) == ['commit = "12e4567"', "learning_rate = 1e-05", 'reward = "sparse"']


@pytest.mark.parametrize("output", [(), ("out.ipynb",)], ids=["own folder", "output path"])
def test_wrong_parameters_end_it_before_the_first_cell_and_leave_nothing(repository, output):
    repository.template("30_grpo", WORK)
    before = sorted(repository.root.rglob("*"))
    wrong = ("-p", "rewrd", "dense", "-p", "reward", "spars", "-p", "steps", "1.5", "-y", "seed: true")
    done = repository.papermill("notebooks/30_grpo.ipynb", *output, *wrong)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert sorted(done.stderr.splitlines()[:4]) == [
        "Error: seed: True is not a valid int",
        "reward: 'spars' is not one of dense | sparse",
        "rewrd: no such parameter, did you mean reward?",
        "steps: 1.5 is not a valid int",
    ]
    assert "  steps: int = 100  # of the optimizer" in done.stderr
    assert [path for path in sorted(repository.root.rglob("*")) if "__pycache__" not in path.parts] == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("-p", "preset", "tinny"), "Error: no preset 'tinny': params/tinny/preset.yaml is missing (presets: tiny)\n"),
        (("-f", "missing.yaml"), "Error: cannot read parameters from missing.yaml: No such file or directory\n"),
    ],
)
def test_a_missing_preset_or_file_is_named(repository, arguments, complaint):
    repository.template("30_grpo", WORK)
    done = repository.papermill("notebooks/30_grpo.ipynb", *arguments)
    assert (done.returncode, done.stderr) == (2, complaint)
    assert repository.runs() == []


def test_without_the_weights_that_a_notebook_loads_no_kernel_starts_and_the_command_is_named(
    repository,
):
    parameters = PARAMETERS + 'policy: str = "base"  # which weights\n'
    write_notebook(repository.root / "notebooks/30_grpo.ipynb", "run.model_path(policy)", parameters=parameters)
    repository.folder("10_sft-s0").mkdir(parents=True)
    (repository.folder("10_sft-s0") / "run_info.json").write_text('{"status": "finished"}')
    (repository.root / "params/tiny/10_sft-s0.yaml").write_text("seed: 0\n")
    done = repository.papermill("notebooks/30_grpo.ipynb", "-p", "policy", "10_sft-s0")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    message = "needs model of the run 10_sft-s0; only its results are here, as in a fresh clone. Make it with\n"
    assert f"{message}  python -m lib.matrix tiny 10_sft-s0\n" in done.stderr
    assert repository.runs() == ["10_sft-s0"]


def test_weights_that_a_notebook_may_do_without_are_not_asked_for(repository):
    parameters = PARAMETERS + 'other: str = "none"  # "none", or whose weights\n'
    cell = 'if other != "none":\n    run.model_path(other)'
    write_notebook(repository.root / "notebooks/30_grpo.ipynb", cell, parameters=parameters)
    assert repository.papermill("notebooks/30_grpo.ipynb").returncode == 0


def test_a_failed_execution_leaves_the_good_run_alone_and_says_where_to_look(repository):
    repository.template("30_grpo", WORK, 'assert "BAD" not in os.environ, "bad " + str(folder)', "1 + 1")
    good = repository.folder("30_grpo-dense-s0") / "30_grpo.ipynb"
    good.parent.mkdir(parents=True)
    good.write_text("an earlier run")

    bad = repository.papermill("notebooks/30_grpo.ipynb", env={"BAD": "1"})
    assert bad.returncode == 1
    assert bad.stdout == ""
    assert bad.stderr.splitlines()[-1].endswith("see artifacts/tiny/30_grpo-dense-s0.failed/30_grpo.ipynb")
    assert "bad artifacts/tiny/30_grpo-dense-s0" in bad.stderr
    assert repository.runs() == ["30_grpo-dense-s0", "30_grpo-dense-s0.failed"]
    assert good.read_text() == "an earlier run"

    failed = read(repository.folder("30_grpo-dense-s0.failed") / "30_grpo.ipynb")
    assert "An Exception was encountered at '<a href=\"#papermill-error-cell\">In [3]</a>'" in source(
        failed, "papermill-error"
    )
    assert failed["metadata"]["papermill"]["exception"] is True
    status = [cell["metadata"]["papermill"]["status"] for cell in failed["cells"] if cell["cell_type"] == "code"]
    assert status == ["completed", "completed", "failed", "pending"]
    assert str(repository.root) not in json.dumps(failed)

    assert repository.papermill("notebooks/30_grpo.ipynb").returncode == 0
    assert repository.runs() == ["30_grpo-dense-s0"]
    assert good.read_text() != "an earlier run"


@pytest.mark.parametrize(
    ("cell", "options", "code", "banner"),
    [
        ("os._exit(0)", (), 138, "The kernel died at '"),
        ("sys.exit(0)", (), 1, "A cell ended the execution (SystemExit) at '"),
        ("exit()", (), 1, "A cell ended the execution (SystemExit) at '"),
        (SLEEP, ("--execution-timeout", 2), 1, "A cell ran out of time at '"),
    ],
    ids=["dead kernel", "sys.exit(0)", "exit()", "time-out"],
)
def test_whatever_stops_a_notebook_is_said_in_it_and_in_the_exit_code(repository, cell, options, code, banner):
    repository.template("30_grpo", WORK, cell)
    done = repository.papermill("notebooks/30_grpo.ipynb", *options)
    assert done.returncode == code, done.stderr
    assert repository.runs() == ["30_grpo-dense-s0.failed"]
    folder = repository.folder("30_grpo-dense-s0.failed")
    failed = read(folder / "30_grpo.ipynb")
    assert failed["cells"][0]["id"] == "papermill-error"
    assert banner in source(failed, "papermill-error")
    assert failed["metadata"]["papermill"]["exception"] is True
    assert "30_grpo-dense-s0.failed/30_grpo.ipynb" in done.stderr.splitlines()[-1]
    assert not is_alive(int((folder / "pid").read_text()))


def start_and_wait(repository) -> tuple[subprocess.Popen, int]:
    """Papermill in the middle of a long cell, and the process id of its kernel."""
    process = subprocess.Popen(
        repository.command("notebooks/30_grpo.ipynb", "--autosave-cell-every", 1),
        cwd=repository.root,
        env=repository.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = repository.folder("30_grpo-dense-s0.partial")
    wait_until(lambda: (folder / "asleep").exists() or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()
    return process, int((folder / "pid").read_text())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_kernel_and_is_said_in_the_notebook(repository, number, code):
    sleep = '(folder / "asleep").touch(); import time; time.sleep(100)'
    repository.template("30_grpo", WORK, f'try:\n    {sleep}\nfinally:\n    (folder / "tidied up").touch()')
    process, kernel = start_and_wait(repository)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == code
    assert stdout == ""
    assert "see artifacts/tiny/30_grpo-dense-s0.failed/30_grpo.ipynb" in stderr
    assert "never retrieved" not in stderr
    assert not is_alive(kernel)
    folder = repository.folder("30_grpo-dense-s0.failed")
    failed = read(folder / "30_grpo.ipynb")
    word = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
    assert f"The execution was {word} at '" in source(failed, "papermill-error")
    assert "KeyboardInterrupt" in json.dumps(failed["cells"][-1]["outputs"])  # where it was
    assert (folder / "tidied up").exists()


def test_a_run_under_way_is_not_disturbed_and_a_killed_one_is_readable_and_replaced(repository):
    repository.template("30_grpo", WORK, 'if "SLOW" not in os.environ:\n    (folder / "asleep").touch()', SLEEP)
    process, kernel = start_and_wait(repository)
    other = repository.papermill("notebooks/30_grpo.ipynb")
    assert other.returncode == 1
    assert "Error: artifacts/tiny/30_grpo-dense-s0 is being made by another process" in other.stderr
    assert process.poll() is None

    process.kill()
    process.communicate()
    left = repository.folder("30_grpo-dense-s0.partial")
    assert "has not finished" in source(read(left / "30_grpo.ipynb"), "papermill-error")
    wait_until(lambda: not is_alive(kernel), 10)  # it looks for its parent every second

    (left / "stale").mkdir()
    repository.template("30_grpo", WORK)
    again = repository.papermill("notebooks/30_grpo.ipynb")
    assert again.returncode == 0, again.stderr
    assert repository.runs() == ["30_grpo-dense-s0"]
    assert not (repository.folder("30_grpo-dense-s0") / "stale").exists()


def test_an_output_path_wins_and_the_other_files_go_beside_it(repository, tmp_path):
    repository.template("30_grpo", WORK, PLACES)
    out = tmp_path / "elsewhere" / "made later" / "out.ipynb"
    done = repository.papermill("notebooks/30_grpo.ipynb", out, "-p", "steps", "7")
    assert done.returncode == 0, done.stderr
    assert not (repository.root / "artifacts").exists()
    assert sorted(path.name for path in out.parent.iterdir()) == ["out", "out.ipynb"]
    assert (out.parent / "out" / "metrics.json").exists()
    notebook = read(out)
    assert "dense 7 0.0001 '' 30_grpo-dense-steps=7-s0\n" in printed(notebook)
    assert "\nout lib/__init__.py" in printed(notebook)
    assert str(tmp_path) not in out.read_text()
    assert notebook["metadata"]["papermill"]["output_path"] == "out.ipynb"


def test_a_template_is_never_its_own_output(repository):
    template = repository.template("30_grpo", WORK)
    before = template.read_text()
    done = repository.papermill(template, template)
    assert done.returncode == 1
    assert "Error: the output path is the template notebooks/30_grpo.ipynb itself" in done.stderr
    assert template.read_text() == before


def test_an_executed_notebook_is_refused_with_the_command_that_makes_it(repository):
    template = repository.template("30_grpo", WORK)
    executed = repository.folder("30_grpo-sparse-s0") / "30_grpo.ipynb"
    executed.parent.mkdir(parents=True)
    notebook = read(template)
    notebook["metadata"]["papermill"] = {"parameters": {"reward": "sparse", "seed": 0}}
    executed.write_text(json.dumps(notebook))
    done = repository.papermill(executed, "out.ipynb", "-p", "seed", "1")
    assert done.returncode == 1
    assert "  papermill notebooks/30_grpo.ipynb -p reward sparse\n" in done.stderr
    assert not (repository.root / "out.ipynb").exists()


def test_other_notebooks_are_executed_as_papermill_does_it(repository, tmp_path):
    """Apart from the moment and random ids, the same as with papermill's own engine asked for by its name."""
    other = write_notebook(tmp_path / "other" / "30_grpo.ipynb", "print(x, flush=True)\nprint(__file__)")
    outputs = []
    for engine in ((), ("--engine", "nbclient")):
        done = repository.papermill(other, "-p", "x", "2", "-p", "y", "3", *engine)  # in a pipe, no output path
        assert done.returncode == 1
        notebook = json.loads(done.stdout)
        assert notebook["metadata"]["papermill"].pop("duration") > 0
        for moving in ("start_time", "end_time"):
            assert notebook["metadata"]["papermill"].pop(moving)
        for cell in notebook["cells"]:
            cell.pop("id")
            cell["metadata"].pop("execution", None)
            for moving in ("start_time", "end_time", "duration"):
                cell["metadata"].get("papermill", {}).pop(moving, None)
        outputs.append(notebook)
    assert outputs[0] == outputs[1]
    assert not (repository.root / "artifacts").exists()


def test_a_foreign_lib_neither_disturbs_the_plug_in_nor_is_disturbed(repository, tmp_path):
    (tmp_path / "project" / "lib").mkdir(parents=True)
    (tmp_path / "project" / "lib" / "__init__.py").write_text("raise SystemExit('imported by somebody else')")
    repository.template("30_grpo", WORK)
    template = repository.root / "notebooks" / "30_grpo.ipynb"
    done = repository.papermill(template, "-p", "seed", "x", cwd=tmp_path / "project")
    assert done.returncode == 2
    assert "seed: 'x' is not a valid int" in done.stderr
    check = "import sys, papermill, papermill.cli; print([name for name in sys.modules if name.split('.')[0] == 'lib'])"
    command = [sys.executable, "-c", check]
    done = subprocess.run(command, cwd=repository.root, env=repository.environment(), capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("module", ["parameters", "papermill/engine"])
def test_a_broken_plug_in_leaves_papermill_as_it_was(repository, tmp_path, module):
    (repository.root / "lib" / "runs" / f"{module}.py").write_text("this is no Python")
    other = write_notebook(tmp_path / "other.ipynb", "x")
    done = repository.papermill(other, tmp_path / "out.ipynb", "-p", "x", "2", "--prepare-only")
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "out.ipynb")["metadata"]["papermill"]["parameters"] == {"x": 2}
    warnings = [line for line in done.stderr.splitlines() if "rlvr_papermill" in line]
    assert len(warnings) == 1
    assert "SyntaxError" in warnings[0]


def test_the_api_makes_the_same_run_and_checks_the_same_parameters(repository):
    repository.template("30_grpo", WORK)
    script = """
import papermill
out = "artifacts/tiny/30_grpo-sparse-s0/30_grpo.ipynb"
try:
    papermill.execute_notebook("notebooks/30_grpo.ipynb", out, parameters={"rewrd": "sparse"}, progress_bar=False)
except ValueError as error:
    print(error)
notebook = papermill.execute_notebook(
    "notebooks/30_grpo.ipynb", out, parameters={"reward": "sparse", "learning_rate": "1e-5"}, progress_bar=False
)
""".replace("30_grpo-sparse-s0", "30_grpo-sparse-learning_rate=1e-05-s0")
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=repository.root, env=repository.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rewrd: no such parameter, did you mean reward?")
    assert repository.runs() == ["30_grpo-sparse-learning_rate=1e-05-s0"]
    notebook = read(repository.folder("30_grpo-sparse-learning_rate=1e-05-s0") / "30_grpo.ipynb")
    assert "sparse 100 1e-05" in printed(notebook)
    assert notebook["metadata"]["papermill"]["parameters"]["learning_rate"] == 1e-5


def test_papermill_does_not_warn_about_parameters_that_it_cannot_read(tmp_path):
    """`reward: str | dict` is a type that papermill's own reading of the parameters cell does not know."""
    command = ["notebooks/30_grpo.ipynb", "-p", "reward", "sparse", "--prepare-only", str(tmp_path / "prepared.ipynb")]
    done = subprocess.run(
        [sys.executable, "-m", "papermill", *command], cwd=paths.root(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert 'reward = \\"sparse\\"' in (tmp_path / "prepared.ipynb").read_text()
    assert "unknown parameter" not in done.stderr + done.stdout
    assert "Unable to parse" not in done.stderr + done.stdout
