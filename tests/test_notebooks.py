"""Notebooks: the anatomy that a reader finds in each of them, and the main line through the real papermill command.

The main line runs in copies of the repository, because `00_tiny_world` writes `data/`.
"""

import ast
import hashlib
import json
import lzma
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from copies import ROOT, copy_repository, type_command
from executed import absolute_paths, evidence_record, what_is_incomplete

from lib.problems.ledger import offences, read_ledger
from lib.report.runs import label
from lib.runs.parameters import read_parameters, resolve, run_name

pytestmark = pytest.mark.timeout(1800)  # two minutes on two idle cores; the first test executes the whole line

TEMPLATES = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIXED = ("Purpose", "Parameters", "Setup", "Checks", "Evidence")
PHASES = ("10_sft", "12_best_of_n", "20_dpo", "30_grpo", "40_repair")
LONGEST_CELL, LONGEST_FUNCTION, MOST_PARAMETERS = 25, 10, 10  # lines
PARAMETER = re.compile(r"\w+: (str|int|float|bool|str \| dict) = \S.*  # \S.*")


class Template:
    """A notebook as a reader meets it: its cells, and those under each heading."""

    def __init__(self, path: Path):
        self.stem, self.raw = path.stem, json.loads(path.read_text())
        self.cells = [(cell["cell_type"], "".join(cell["source"])) for cell in self.raw["cells"]]
        self.code = [source for kind, source in self.cells if kind == "code"]
        self.sections: dict[str, list[tuple[str, str]]] = {}
        heading = ""
        for kind, source in self.cells[1:]:
            found = re.match(r"## (.+)", source) if kind == "markdown" else None
            heading = found[1].strip() if found else heading
            self.sections.setdefault(heading, []).append((kind, source))

    def code_under(self, heading: str) -> list[str]:
        return [source for kind, source in self.sections[heading] if kind == "code"]


@pytest.fixture(params=TEMPLATES, ids=lambda path: path.stem)
def template(request) -> Template:
    return Template(request.param)


def test_a_notebook_opens_with_its_title_and_four_lines(template):
    kind, opening = template.cells[0]
    title, *lines = [line for line in opening.splitlines() if line.strip()]
    assert kind == "markdown"
    assert re.fullmatch(r"# \S.*", title)
    assert [re.match(r"- \*\*(\w+)\*\*: \S", line)[1] for line in lines] == ["Claim", "Reads", "Writes", "Cost"]
    assert "control" in lines[0], "a claim names its control"
    assert "`tiny`" in lines[3] or template.stem.startswith(("00", "9")), "a cost is for a preset"


def test_headings_come_in_the_fixed_order_with_the_work_between(template):
    headings = list(template.sections)
    assert headings[:3] == list(FIXED[:3])
    assert headings[-2:] == list(FIXED[3:])
    assert len(headings) > len(FIXED), "the work has headings of its own"
    assert sum(source.startswith("## ") for kind, source in template.cells if kind == "markdown") == len(headings)
    assert not [source for _, source in template.cells[1:] if re.match(r"# \S", source)], "one title"


def test_parameters_stand_in_one_cell_each_on_a_line_with_its_help(template):
    tagged = [cell for cell in template.raw["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    source = "".join(tagged[0]["source"])
    assert template.code_under("Parameters") == [source] == template.code[:1]
    lines = source.splitlines()
    assert len(lines) <= MOST_PARAMETERS
    assert [line for line in lines if not PARAMETER.fullmatch(line)] == []
    assert [line for line in lines if line.count("=") > 1] == [], "papermill warns that it can't parse such a line"
    assert {"preset", "seed"} <= read_parameters(ROOT / "notebooks" / f"{template.stem}.ipynb").keys()


def test_the_setup_cell_imports_and_starts_the_run(template):
    [setup] = template.code_under("Setup")
    assert f'run = start("{template.stem}", globals())' in setup.splitlines()
    assert "start(" not in "".join(source for source in template.code if source != setup)


def test_every_parameter_is_used(template):
    names = {
        node.id
        for source in template.code[1:]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    declared = read_parameters(ROOT / "notebooks" / f"{template.stem}.ipynb").keys()
    assert declared - names <= {"preset", "seed"}, (
        "start() uses these two, and nobody else a parameter that is not here"
    )


def test_checks_are_asserts_each_with_a_sentence_that_says_what_must_hold(template):
    asserts = [
        node
        for source in template.code_under("Checks")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assert)
    ]
    assert asserts
    assert [ast.unparse(node) for node in asserts if node.msg is None] == []


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_is_compared_with_its_control_before_its_checks(phase):
    template = Template(ROOT / "notebooks" / f"{phase}.ipynb")
    assert list(template.sections)[-3] == "Against the control"
    code = "\n".join(template.code_under("Against the control"))
    assert ("compared[" if phase == "40_repair" else "against_control(") in code  # repair has several controls
    asserts = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Assert)]
    assert asserts, "the claim is asserted"
    assert [node for node in asserts if "limit" not in ast.unparse(node.test)] == [], "it holds at full scale only"


def test_the_last_cell_ends_with_the_evidence_record(template):
    assert template.cells[-1] == ("code", template.code_under("Evidence")[-1])
    last = ast.parse(template.code[-1]).body[-1]
    assert isinstance(last, ast.Expr), "the record is shown, so it is the cell's last expression"
    assert ast.unparse(last.value.func) == "run.finish"


def test_every_figure_has_alternative_text(template):
    for source in template.code:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "save_figure":
                alt = [keyword.value for keyword in node.keywords if keyword.arg == "alt"] or node.args[2:]
                assert alt, ast.unparse(node)
                assert ast.unparse(alt[0]).strip("f'\""), ast.unparse(node)


def test_a_template_is_committed_without_outputs(template):
    for cell in template.raw["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert "papermill" not in template.raw["metadata"]


def test_cells_are_short_and_define_no_classes_and_no_long_functions(template):
    for source in template.code:
        assert len(source.splitlines()) <= LONGEST_CELL, source
        for node in ast.walk(ast.parse(source)):
            assert not isinstance(node, ast.ClassDef), f"class {node.name} belongs into lib"
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{node.name} belongs into lib"


def test_cells_have_ids_of_their_own_and_the_kernel_is_the_plain_one(template):
    ids = [cell.get("id") for cell in template.raw["cells"]]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert template.raw["metadata"]["kernelspec"]["name"] == "python3"
    assert (template.raw["nbformat"], template.raw["nbformat_minor"]) == (4, 5)


def test_a_notebook_imports_only_from_lib_and_what_it_shows_with(template):
    imported = {
        name.split(".")[0]
        for source in template.code
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module])
    }
    assert imported - set(sys.stdlib_module_names) <= {"lib", "pandas", "numpy", "matplotlib", "IPython", "ipywidgets"}


# The main line at a smoke scale: the base model of the repository, a few problems of each set, a few steps.
FEW = {"limit": 8}
SFT = {"steps": 20, "easy_steps": 15, "per_problem": 1, **FEW}
GRPO = {"steps": 3, **FEW}


def name_of(notebook: str, parameters: dict) -> str:
    template = ROOT / "notebooks" / f"{notebook}.ipynb"
    return run_name(template, resolve(read_parameters(template), parameters))


def short(run: str) -> str:
    """A run's name without its parameters, for the names of tests."""
    return run.partition("=")[0].rpartition("-")[0]


BASE_RUN, SFT_RUN = name_of("03_baseline", FEW), name_of("10_sft", SFT)
DENSE = {"reward": "dense", "policy": SFT_RUN, **GRPO}
SPARSE = {"reward": "sparse", "policy": SFT_RUN, "beta": 0.0, **GRPO}  # without a reference model
RL_RUNS = [name_of("30_grpo", parameters) for parameters in (DENSE, SPARSE)]
DPO = {"policy": SFT_RUN, "train_problems": 24, "epochs": 6.0, **FEW}
DPO_RUN = name_of("20_dpo", DPO)
WHEEL = {"negatives": DPO_RUN, **DPO}
WHEEL_RUN = name_of("20_dpo", WHEEL)
BEST_OF_N = {"policy": SFT_RUN, "trained": " ".join(RL_RUNS), "samples": 3, "temperatures": "0.8 1.0", **FEW}
REPAIR = {"policy": RL_RUNS[0], "example_steps": 2, "steps": 2, **FEW}
REPORTED = [BASE_RUN, SFT_RUN, *RL_RUNS, DPO_RUN]
ALSO_REPORTED = [name_of("12_best_of_n", BEST_OF_N), name_of("40_repair", REPAIR)]
REPORT = {
    "runs": " ".join((*REPORTED, *ALSO_REPORTED, "20_dpo-s7")),  # of which the last one has not been made
    "pairs": " ".join(f"{SFT_RUN},{run}" for run in RL_RUNS),
}
JUDGE = ("02_judge", {"verdicts": 30, "busy": 1, **FEW})
WORLD = ("00_tiny_world", {"train_steps": 8})
CHECKPOINTS = {"policy": SFT_RUN, **FEW}
FAILURES = {"policy": RL_RUNS[0], "before": SFT_RUN, "failures": 6}
# What stands in one line needs nothing of one another, and can share the two cores.
STAGES = [
    [("03_baseline", FEW), ("10_sft", SFT), ("01_data", {"judged": 5, "pairs": 200})],
    [("30_grpo", DENSE), ("30_grpo", SPARSE), ("11_checkpoints", CHECKPOINTS), ("20_dpo", DPO)],
    [("40_repair", REPAIR), ("12_best_of_n", BEST_OF_N), JUDGE, ("91_failures", FAILURES)],
    [("90_report", REPORT), ("20_dpo", WHEEL), ("92_case_studies", {"repair": name_of("40_repair", REPAIR)})],
]
EXECUTED = {name_of(*run): run[0] for stage in [[WORLD], *STAGES] for run in stage}


class Copy:
    """A copy of the repository, and papermill as it is typed there, with all runs of all copies in `artifacts`."""

    def __init__(self, folder: Path, artifacts: Path):
        self.folder, self.artifacts = folder, artifacts
        copy_repository(folder, "lib", "notebooks", "params", "data")

    def papermill(self, run: tuple[str, dict]) -> None:
        notebook, parameters = run
        options = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
        command = [sys.executable, "-m", "papermill", f"notebooks/{notebook}.ipynb", *options, "--no-progress-bar"]
        type_command(command, self.folder, RLVR_ARTIFACTS=str(self.artifacts))


def add_checkpoints(copy: Copy) -> None:
    """Beside the checkpoint that the SFT run saved at step 20: a copy of it that was cut off, and the base model."""
    checkpoints = copy.artifacts / "tiny" / SFT_RUN / "checkpoints"
    shutil.copytree(checkpoints / "checkpoint-20", checkpoints / "checkpoint-40")
    weights = checkpoints / "checkpoint-40" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    shutil.copytree(copy.folder / "data" / "tiny" / "base_model", checkpoints / "checkpoint-50")


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> tuple[Copy, Copy]:
    """Two copies, in which everything has been executed: 00_tiny_world, which writes data/, and the other notebooks."""
    folder = tmp_path_factory.mktemp("main_line")
    world, line = (Copy(folder / name, folder / "artifacts") for name in ("world", "line"))
    shutil.rmtree(world.folder / "data" / "tiny" / "base_model")
    with ThreadPoolExecutor(2) as pool:
        rebuilding = pool.submit(world.papermill, WORLD)
        for stage in STAGES:
            list(pool.map(line.papermill, stage))
            if stage == STAGES[0]:
                add_checkpoints(line)
        rebuilding.result()
    return world, line


@pytest.fixture
def runs(copies) -> Path:
    """The folder with the folders of all runs."""
    return copies[0].artifacts / "tiny"


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


def test_the_main_line_makes_the_runs_that_its_parameters_name_and_nothing_else(runs):
    assert {folder.name for folder in runs.iterdir()} == set(EXECUTED)


@pytest.mark.parametrize("run", EXECUTED, ids=short)
def test_a_run_is_complete_and_its_record_is_its_summary(runs, run):
    file = f"{EXECUTED[run]}.ipynb"
    notebook, info = read(runs / run, file), read(runs / run, "run_info.json")
    assert what_is_incomplete(notebook) == []
    assert evidence_record(notebook)["summary"] == read(runs / run, "summary.json")
    assert (info["run"], info["status"]) == (run, "finished")
    assert absolute_paths(runs / run) == {}
    assert (runs / run / file).stat().st_size < 300_000


def test_the_tiny_world_is_rebuilt_as_it_is_committed_and_a_base_model_trained(copies):
    committed, rebuilt = ROOT / "data" / "tiny", copies[0].folder / "data" / "tiny"
    sums = (committed / "SHA256SUMS").read_text()
    assert (rebuilt / "SHA256SUMS").read_text() == sums
    sets = [path for path in committed.glob("*/*.xz") if path.parent.name != "efficiency"]  # measured, not drawn
    assert len(sums.splitlines()) == len(sets)
    for line in sums.splitlines():
        digest, file = line.split()
        for folder in (committed, rebuilt):
            assert hashlib.sha256(lzma.decompress((folder / f"{file}.xz").read_bytes())).hexdigest() == digest
    made = {path.name for path in (rebuilt / "base_model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= made


@pytest.mark.parametrize("run", [BASE_RUN, SFT_RUN, *RL_RUNS], ids=short)
def test_a_policy_is_measured_on_the_first_problems_of_every_set(runs, run):
    n = {name: found["n"] for name, found in read(runs / run, "metrics.json")["datasets"].items()}
    sets = ["contests_valid", "contests_test", "humaneval", "mbpp"]
    assert n == dict.fromkeys([*sets, "contests_valid_big"] if run == BASE_RUN else sets, FEW["limit"])


def test_checkpoints_are_measured_and_the_chosen_one_is_handed_on(runs):
    folder = runs / name_of("11_checkpoints", CHECKPOINTS)
    best = read(folder, "best_checkpoint.json")
    assert [(one["step"], one["refused"] is None) for one in best["checkpoints"]] == [
        (20, True),
        (40, False),
        (50, True),
    ]
    assert "checkpoint-40 can't be loaded" in best["checkpoints"][1]["refused"]
    summary = read(folder, "eval_step_50/summary.json")
    assert summary["datasets"].keys() == {"contests_valid", "mbpp", "contests_valid_big"}
    assert {path.name for path in folder.glob("eval_step_*")} == {"eval_step_20", "eval_step_50"}
    assert read(folder, "model_check.json")["parameters"] > 1e6
    chosen = runs / SFT_RUN / "checkpoints" / best["best_checkpoint"] / "model.safetensors"
    assert (folder / "model" / "model.safetensors").read_bytes() == chosen.read_bytes()


def test_each_training_moves_the_weights_and_keeps_its_curve(copies, runs):
    weights = [copies[1].folder / "data" / "tiny" / "base_model" / "model.safetensors"]
    weights += [runs / run / "model" / "model.safetensors" for run in (SFT_RUN, *RL_RUNS)]
    assert len({path.read_bytes() for path in weights}) == 4
    assert [len((runs / run / "curves.csv").read_text().splitlines()) - 1 for run in RL_RUNS] == [GRPO["steps"]] * 2


def test_dpo_trains_on_pairs_of_train_problems_with_early_stopping_and_the_flywheel_adds_failures(copies, runs):
    plain, wheel = (read(runs / run, "pairs.json") for run in (DPO_RUN, WHEEL_RUN))
    assert plain == wheel | {key: plain[key] for key in ("judge_cpu_s", "judge_cpu_s_per_pair")}, "the same samples"
    assert plain["problems"] == DPO["train_problems"]
    assert plain["pairs"] > 0
    for run in (DPO_RUN, WHEEL_RUN):
        early_stop = read(runs / run, "early_stop.json")
        steps = [point["step"] for point in early_stop["eval_points"]]
        assert (steps[0], early_stop["stopped_at"]) == (0, None)
        assert early_stop["eval_points"][0]["sets"].keys() == {"contests_valid", "mbpp"}
        assert len((runs / run / "curves.csv").read_text().splitlines()) - 1 == steps[-1] > 0
        assert (runs / run / "before" / "verdicts.csv").is_file()
        learnt = [line for line in read_ledger(runs / run) if line["purpose"] == "train"]
        assert {line["role"] for line in learnt} == {"train"}
    hard = [read(runs / run, "metrics.json")["hard negatives"] for run in (DPO_RUN, WHEEL_RUN)]
    assert hard[0] == 0 < hard[1]
    weights = [runs / run / "model" / "model.safetensors" for run in (SFT_RUN, DPO_RUN, WHEEL_RUN)]
    assert len({path.read_bytes() for path in weights}) == 3


def test_best_of_n_judges_every_sample_and_is_compared_with_the_trained_policies(runs):
    folder = runs / name_of("12_best_of_n", BEST_OF_N)
    found = read(folder, "metrics.json")
    assert found["temperature"] in (0.8, 1.0)
    assert len((folder / "verdicts.csv").read_text().splitlines()) - 1 == 3 * 3 * FEW["limit"]  # sets, samples
    compared = {(one["greedy"], one["set"]) for one in found["prices"]}
    assert compared == {(run, name) for run in (SFT_RUN, *RL_RUNS) for name in ("contests_test", "humaneval", "mbpp")}


def test_the_ledgers_prove_that_no_test_problem_was_learnt_from_and_all_arms_are_equal(runs):
    # 91_failures reads whole sets to find its problems in them; the other runs were measured on a few of each.
    assert [one for one in offences(runs.parent) if "/91_failures" not in one] == []
    read = {line["purpose"]: len(line["ids"]) for line in read_ledger(runs / SFT_RUN)}
    assert read["report"] == FEW["limit"]
    assert read["train"] > 100


def test_the_report_shows_the_figures_of_the_runs_it_names(runs):
    report = runs / name_of("90_report", REPORT)
    written = read(report, "metrics.json")
    assert written["rows"].keys() == {label(run) for run in (*REPORTED, *ALSO_REPORTED)}
    for run in REPORTED:
        found, row = read(runs / run, "metrics.json")["datasets"], written["rows"][label(run)]
        shown = {name: one["accepted_at_1"] for name, one in row.items()}
        assert shown == pytest.approx({name: found[name]["accepted_at_1"] for name in row})
    best, repaired = (written["rows"][label(run)]["contests_test"]["accepted_at_1"] for run in ALSO_REPORTED)
    assert 0 <= best <= 1
    assert repaired == pytest.approx(read(runs / ALSO_REPORTED[1], "summary.json")["accepted_at_multi"])
    assert "not run: DPO, seed 7" in written["holes"], "a missing run is a hole, no exception"
    assert written["conclusions"].keys() >= {"repair", "feedback"}
    assert len(written["conclusions"]) == len(RL_RUNS) + 2
    assert len(written["repair_controls"]) == len(read(runs / ALSO_REPORTED[1], "repair.json")["controls"])
    assert written["stale"] == {}
    pictures = {"curves.png", "error_types.png", "main_table.png"}
    assert {path.name for path in (report / "figures").iterdir()} >= pictures


def test_failures_are_written_again_as_they_were_and_each_has_a_class(runs):
    folder = runs / name_of("91_failures", FAILURES)
    figures = read(folder, "metrics.json")
    assert {run: one["verdicts_changed"] for run, one in figures["runs"].items()} == {SFT_RUN: 0, RL_RUNS[0]: 0}
    lines = [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * FAILURES["failures"]
    counted = sum(n for classes in figures["classes"].values() for n in classes.values())
    assert counted == len(lines)
