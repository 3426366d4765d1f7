"""The check, on runs that papermill has executed: green as they are, red for each fault for its own reason."""

import json
import shutil
import subprocess

import pytest

SFT, REPORT = "artifacts/tiny/10_sft-s0", "artifacts/tiny/90_report-s0"
NOTEBOOK = f"{SFT}/10_sft.ipynb"


def test_evidence_as_it_was_executed_passes_and_nothing_of_it_is_stale(evidence):
    assert evidence.command("check", "--strict") == (
        0,
        ["3 runs, 1 blocks in README.md, 1 blocks in README.zh-CN.md: 0 wrong, 0 stale"],
    )


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_a_number_changed_in_a_page_is_wrong_and_fill_corrects_it(evidence, page):
    evidence.replace(page, "48.5 [", "49.5 [")
    [found] = evidence.wrong()
    assert found.startswith(f"WRONG  {page}:3: the block `seeds_table contests_test.accepted_at_1 0,1 SFT=")
    assert "shows '| SFT | 49.5 [41.0, 56.1] | " in found
    assert "the records say '| SFT | 48.5 [41.0, 56.1] | " in found
    assert evidence.command("fill", str(evidence.root / page)) == (0, [f"{page}: written"])
    assert evidence.wrong() == []


def test_a_page_without_blocks_or_with_a_dead_link_is_wrong(evidence):
    (evidence.root / "README.md").write_text("SFT solves 48.5 %: [look](artifacts/tiny/10_sft-s9/10_sft.ipynb)\n")
    assert [line.split(" → ")[0] for line in evidence.wrong()] == [
        "WRONG  README.md: links to artifacts/tiny/10_sft-s9/10_sft.ipynb, which does not exist",
        "WRONG  README.md: has no generated block",
    ]


def cell(notebook: dict, number: int) -> dict:
    return notebook["cells"][number]


def fail(notebook: dict) -> None:
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
    cell(notebook, 2)["outputs"] = [error]


NOTEBOOK_FAULTS = {
    "missing cell": (lambda nb: nb["cells"].pop(2), "cell cell-2 of its template is missing"),
    "changed cell": (lambda nb: cell(nb, 2).update(source="pass"), "cell cell-2 differs from its template"),
    "added cell": (lambda nb: nb["cells"].insert(2, {**cell(nb, 1), "id": "x"}), "cell x is not in its template"),
    "other order": (lambda nb: nb["cells"].insert(1, nb["cells"].pop(2)), "cells are in another order"),
    "failed cell": (fail, "cell cell-2 failed with ValueError: no"),
    "unexecuted cell": (
        lambda nb: cell(nb, 2).update(execution_count=None),
        "the code cell number 3, was not executed",
    ),
    "executed later": (lambda nb: cell(nb, 2).update(execution_count=9), "number 3, was executed as number 9"),
    "no record": (lambda nb: cell(nb, 3).update(outputs=[]), "the last cell shows no evidence record"),
    "changed output": (lambda nb: cell(nb, 1).update(outputs=[]), "an output was changed after the run"),
    "unknown parameter": (
        lambda nb: nb["metadata"]["papermill"]["parameters"].update(speed=1),
        "its papermill record has a wrong parameter: speed: no such parameter",
    ),
    "another parameter": (
        lambda nb: nb["metadata"]["papermill"]["parameters"].update(seed=1),
        "executed with other parameters than its record says",
    ),
}


@pytest.mark.parametrize("fault", NOTEBOOK_FAULTS)
def test_a_fault_of_a_notebook_is_named(evidence, fault):
    plant, message = NOTEBOOK_FAULTS[fault]
    evidence.edit(NOTEBOOK, plant)
    assert [line for line in evidence.wrong() if line.startswith(f"WRONG  {NOTEBOOK}: ") and message in line]


@pytest.mark.parametrize("fault", ["unexecuted cell", "changed output", "unknown parameter"])
def test_one_fault_is_not_taken_for_others(evidence, fault):
    evidence.edit(NOTEBOOK, NOTEBOOK_FAULTS[fault][0])
    assert len(evidence.wrong()) <= 2


def record(notebook: dict) -> dict:
    [output] = cell(notebook, 3)["outputs"]
    return output["data"]["application/vnd.rlvr.evidence+json"]


INFO_FAULTS = {
    "dirty tree": ({"dirty": True}, "came from a dirty tree: no commit has its code"),
    "no git": ({"dirty": None, "commit": None}, "came from a tree without git"),
    "unknown commit": ({"commit": "1" * 40}, "came from commit 1111111111, which HEAD does not contain"),
    "unknown parameter": (
        {"parameters": {"preset": "tiny", "seed": 0, "sed": 1}},
        "its run_info.json has a wrong parameter: sed: no such parameter, did you mean seed?",
    ),
    "unfinished": ({"status": "running"}, "its run is running"),
    "other files": ({"files": {"metrics.json": "0", "lost.csv": "0"}}, "lost.csv is missing"),
}


@pytest.mark.parametrize("fault", INFO_FAULTS)
def test_a_fault_of_a_run_is_named(evidence, fault):
    changes, message = INFO_FAULTS[fault]
    evidence.edit(f"{SFT}/run_info.json", lambda info: info.update(changes))
    assert [line for line in evidence.wrong() if line.startswith(f"WRONG  {NOTEBOOK}: ") and message in line]


def test_a_dirty_run_whose_records_all_say_so_has_no_other_fault(evidence):
    evidence.edit(f"{SFT}/run_info.json", lambda info: info.update(dirty=True))
    evidence.edit(NOTEBOOK, lambda notebook: record(notebook).update(dirty=True))
    evidence.edit(NOTEBOOK, lambda notebook: notebook["metadata"]["papermill"].pop("output_hash"))
    evidence.edit(f"{REPORT}/run_info.json", lambda info: info.update(read={}))
    [found] = evidence.wrong()
    assert "came from a dirty tree" in found


def test_an_unknown_parameter_in_a_params_file_is_wrong(evidence):
    (evidence.root / "params/tiny/10_sft-s0.yaml").write_text("seed: 0\nstepps: 3\n")
    assert [line for line in evidence.wrong() if "params/tiny/10_sft-s0.yaml has a wrong parameter" in line]


def test_a_record_that_differs_from_the_files_beside_it_is_wrong(evidence):
    evidence.edit(f"{SFT}/metrics.json", lambda metrics: metrics["datasets"]["contests_test"].update(accepted_at_1=0.9))
    messages = "\n".join(evidence.wrong())
    assert "metrics.json was changed after the run" in messages
    assert "metrics.json another value" in messages
    assert "README.md:3" in messages
    assert "cell cell-2, line 1 of its output: the block `seeds_table contests_test.accepted_at_1" in messages


def test_a_figure_changed_in_the_report_is_wrong(evidence):
    evidence.replace(f"{REPORT}/90_report.ipynb", "| SFT | 48.5 [", "| SFT | 49.5 [")
    assert [line.partition(": ")[2].split(" → ")[0] for line in evidence.wrong()] == [
        "an output was changed after the run",
        "cell cell-2, line 1 of its output: the block `seeds_table contests_test.accepted_at_1 0,1 "
        "SFT=tiny/10_sft-s0,-` shows '| SFT | 49.5 [41.0, 56.1] | not run |', but the records say "
        "'| SFT | 48.5 [41.0, 56.1] | not run |'",
    ]


def test_a_report_of_runs_that_ran_again_is_wrong_because_it_shows_what_they_were(evidence):
    evidence.edit(f"{SFT}/run_info.json", lambda info: info.update(seconds=99.0))
    [found] = [line for line in evidence.wrong() if "90_report.ipynb" in line]
    assert "runs that it read ran again since: 10_sft-s0" in found


def test_a_file_that_cannot_be_read_is_an_error_and_the_check_goes_on(evidence):
    (evidence.root / SFT / "run_info.json").write_text("{")
    (evidence.root / "artifacts/tiny/10_sft-s1/10_sft.ipynb").unlink()
    found = evidence.wrong()
    assert any("10_sft-s0" in line and "is not a complete run" in line for line in found)
    assert any("10_sft-s1" in line and "is not a complete run" in line for line in found)
    assert not any(str(evidence.root) in line for line in found)


def test_a_run_whose_module_has_changed_is_stale_and_wrong_only_when_asked_strictly(evidence):
    with (evidence.root / "lib/trained.py").open("a") as file:
        file.write("\n\nX = 1\n")
    code, lines = evidence.command("check")
    assert code == 0
    assert lines[0].startswith(f"stale  {NOTEBOOK}: changed since: lib.trained → ")
    assert any("90_report.ipynb: changed since: upstream 10_sft-s0" in line for line in lines)
    assert evidence.command("check", "--strict") == (1, lines)
    evidence.command("index")
    assert "[stale](tiny/10_sft-s0/10_sft.ipynb)" in (evidence.root / "artifacts/INDEX.md").read_text()


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("params/tiny/10_sft-s0.yaml", "seed: 0\npreset: other\n", "params preset"),
        ("params/tiny/preset.yaml", "max_new_tokens: 8\nthreads: 1\n", "preset threads"),
        ("data/tiny/valid.jsonl", "{}\n", "data"),
    ],
)
def test_whatever_else_a_run_was_made_from_makes_it_stale(evidence, file, text, reason):
    (evidence.root / file).parent.mkdir(parents=True, exist_ok=True)
    (evidence.root / file).write_text(text)
    assert any(f"{NOTEBOOK}: changed since: {reason} →" in line for line in evidence.command("check")[1])


def test_a_part_of_the_preset_that_no_code_of_a_run_names_is_none_of_its_inputs(evidence):
    (evidence.root / "params/tiny/preset.yaml").write_text("max_new_tokens: 8\nanother_notebook: 1\n")
    assert evidence.command("check", "--strict")[0] == 0


def test_the_template_as_it_was_then_counts_and_not_as_it_is_now(evidence):
    evidence.replace("notebooks/10_sft.ipynb", "solved = 80 + seed", "solved = 90 + seed")
    assert evidence.wrong() == []
    evidence.edit(NOTEBOOK, NOTEBOOK_FAULTS["missing cell"][0])
    assert any("cell cell-2 of its template is missing" in line for line in evidence.wrong())


def test_a_run_tried_by_hand_is_nobodys_evidence_until_git_has_it(evidence):
    shutil.copytree(evidence.root / SFT, evidence.root / "artifacts/tiny/10_sft-rate=1-s0")
    assert evidence.wrong() == []
    subprocess.run(["git", "-C", str(evidence.root), "add", "artifacts"], check=True)
    [found] = evidence.wrong()
    assert "artifacts/tiny/10_sft-rate=1-s0/10_sft.ipynb: is the notebook of another run, tiny/10_sft-s0" in found


@pytest.mark.parametrize("kind", ["a shallow clone", "no git"])
def test_without_its_history_the_check_says_what_it_could_not_see(evidence, tmp_path, monkeypatch, kind):
    if kind == "no git":
        shutil.rmtree(evidence.root / ".git")
    else:
        shallow = tmp_path / "shallow"
        command = ["git", "clone", "-q", "--depth", "1", f"file://{evidence.root}", str(shallow)]
        subprocess.run(command, check=True)
        evidence.root = shallow
        monkeypatch.setattr("lib.runs.paths.root", lambda: shallow)
    code, [line] = evidence.command("check")
    assert code == 0
    assert f"{kind}: commits of runs, and cells edited since, were not checked" in line
    evidence.edit(NOTEBOOK, NOTEBOOK_FAULTS["missing cell"][0])  # its template is the same still
    assert any("cell cell-2 of its template is missing" in line for line in evidence.wrong())


def test_a_record_from_before_a_part_of_it_was_kept_is_stale(evidence):
    file = evidence.root / SFT / "run_info.json"
    info = json.loads(file.read_text())
    del info["preset_hashes"]
    info["fingerprint"] = "of then"
    file.write_text(json.dumps(info))
    assert any(f"{NOTEBOOK}: its record lacks preset_hashes →" in line for line in evidence.command("check")[1])
