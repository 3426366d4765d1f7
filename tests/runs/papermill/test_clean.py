import sys
import sysconfig
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from lib.runs import paths
from lib.runs.papermill.clean import VIEW, clean, shortener

HOME, ROOT = Path.home(), paths.root()
STAGED, SHOWN = ROOT / "artifacts/tiny/30_grpo-s0.partial", "artifacts/tiny/30_grpo-s0"
SITE = sysconfig.get_path("purelib")


@pytest.fixture
def shorten():
    return shortener(STAGED, SHOWN)


@pytest.fixture
def cleaned(shorten):
    """A function: the notebook with one cell that has these outputs, cleaned."""

    def make(*outputs, states=None):
        metadata = {"papermill": {"start_time": "now", "parameters": {}}}
        if states:
            metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": states}}
        return clean(new_notebook(cells=[new_code_cell("1", outputs=list(outputs))], metadata=metadata), shorten)

    return make


def stream(name, text):
    return new_output("stream", name=name, text=text)


def view(model, text="Slider()"):
    return new_output("display_data", {VIEW: {"model_id": model}, "text/plain": text})


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (f"{ROOT}/lib/training/grpo.py:3", "lib/training/grpo.py:3"),
        (f"file://{ROOT}/README.md", "file://README.md"),
        (f"root={ROOT}", "root=."),
        (f"{STAGED}/metrics.json {STAGED}", f"{SHOWN}/metrics.json {SHOWN}"),
        (f'File "{SITE}/torch/nn.py"', 'File "site-packages/torch/nn.py"'),
        (f"{sysconfig.get_path('stdlib')}/json/decoder.py", f"python3.{sys.version_info.minor}/json/decoder.py"),
        (f"\x1b[32m{HOME}/notes.txt\x1b[0m {HOME}", "\x1b[32m~/notes.txt\x1b[0m ~"),
        (f"{tempfile.gettempdir()}/ipykernel_123/4567.py:3: UserWarning", "cell.py:3: UserWarning"),
        (f"{tempfile.gettempdir()}/tmp1a_b2c3d/x", "tmp/tmp/x"),
        ("/var" + tempfile.gettempdir(), "/var" + tempfile.gettempdir()),
        ("<Figure at 0x7f12ab34cd56>", "<Figure at 0x0>"),
        ("http://localhost/a/b", "http://localhost/a/b"),
    ],
)
def test_places_have_short_names(shorten, text, short):
    assert shorten(text) == short


@pytest.mark.parametrize("ending", ["2/x", ".bak", "-old"])
def test_another_place_with_the_same_beginning_is_another_place(shorten, ending):
    assert shorten(f"{ROOT}{ending}").endswith(f"{ROOT.name}{ending}")


@pytest.mark.skipif(not ROOT.is_relative_to(HOME), reason="the repository is not in the home folder")
def test_a_path_is_recognized_as_ipython_abbreviates_it(shorten):
    assert shorten(f"File ~/{ROOT.relative_to(HOME)}/lib/training/grpo.py:3") == "File lib/training/grpo.py:3"


def test_paths_are_shortened_in_every_text_of_an_output_but_not_in_images(cleaned):
    image = f"iVBOR{ROOT}/AAAA"
    data = {"text/html": f"<a href='{ROOT}/x'>", "application/json": {"at": [f"{ROOT}/y"]}, "image/png": image}
    error = new_output("error", ename="E", evalue=f"{ROOT}/z", traceback=[f"in {ROOT}/z"])
    shown, failed = cleaned(new_output("display_data", data), error).cells[0].outputs
    assert shown.data == {"text/html": "<a href='x'>", "application/json": {"at": ["y"]}, "image/png": image}
    assert (failed.evalue, failed.traceback) == ("z", ["in z"])


def test_streams_are_one_text_each_between_other_outputs(cleaned):
    lines = [stream("stdout", f"{number}\n") for number in range(3000)]
    figure = new_output("display_data", {"text/plain": "figure"})
    outputs = cleaned(stream("stderr", "oh\n"), *lines, figure, stream("stdout", "1 %\r2 %\rdone\n")).cells[0].outputs
    assert [output.get("name") for output in outputs] == ["stdout", "stderr", None, "stdout"]
    assert outputs[0].text.count("\n") == 3000
    assert outputs[-1].text == "done\n"


def test_timing_goes_and_the_original_stays(shorten):
    cell = new_code_cell("1", metadata={"execution": {"iopub.status.busy": "now"}, "tags": []})
    cell.metadata["papermill"] = {"duration": 1.5, "status": "completed"}
    papermill = {"duration": 2.5, "version": "2.7.0", "input_path": f"{ROOT}/notebooks/x.ipynb"}
    language = {"name": "python", "version": "3.11.7"}
    notebook = new_notebook(cells=[cell], metadata={"papermill": papermill, "language_info": language})
    result = clean(notebook, shorten)
    assert result.cells[0].metadata == {"papermill": {"status": "completed"}}
    assert result.metadata == {"papermill": {"input_path": "notebooks/x.ipynb"}, "language_info": {"name": "python"}}
    assert notebook.metadata.papermill.duration == 2.5
    nbformat.validate(result)


def test_progress_bars_are_left_out(cleaned):
    text = stream("stderr", "Map:  50%|#####     | 1/2 [00:01<00:01,  1.0s/it]\nreal trouble\n")
    result = cleaned(text, view("b0", "  0%|          | 0/2 [00:00<?, ?it/s]"), states={"b0": {"state": {}}})
    assert [output.text for output in result.cells[0].outputs] == ["real trouble\n"]
    assert "widgets" not in result.metadata


def test_of_a_widget_only_its_static_rendering_stays(cleaned):
    both = new_output("execute_result", {VIEW: {"model_id": "5a"}, "text/html": "<p>all rounds</p>"})
    result = cleaned(both, view("5b", "Slider()"), states={"5a": {"state": {}}, "5b": {"state": {}}})
    outputs = [output.data for output in result.cells[0].outputs]
    assert outputs == [{"text/html": "<p>all rounds</p>"}, {"text/plain": "Slider()"}]
    assert "widgets" not in result.metadata


def test_a_table_of_pandas_is_kept_as_html_alone(cleaned):
    html = '<table border="1" class="dataframe"><tr><td>1</td></tr></table>'
    table = new_output("execute_result", {"text/html": html, "text/plain": "   a\n0  1"})
    other = new_output("execute_result", {"text/html": "<table></table>", "text/plain": "1"})
    shown, kept = cleaned(table, other).cells[0].outputs
    assert shown.data == {"text/html": html}
    assert kept.data == {"text/html": "<table></table>", "text/plain": "1"}
