"""The graph of runs: order, selection, and params files that make no sense."""

import pytest

from lib.runs.graph import GraphError, graph, select
from lib.runs.matrix import main


@pytest.fixture
def chain(repository):
    """A baseline, a training that reads it, a report that reads both."""
    repository.notebook("03_baseline")
    repository.notebook("10_sft", parameters='policy: str = "03_baseline-s0"  # what is trained\n')
    repository.notebook("90_report", parameters='runs: str = "10_sft-s0"  # what is shown\n')
    repository.params("03_baseline-s0")
    repository.params("10_sft-s0", "policy: 03_baseline-s0\n")
    repository.params("90_report-s0", "runs: 03_baseline-s0, 10_sft-s0\n")
    return repository


def test_the_order_is_that_of_the_names_in_the_params(chain):
    needs = graph("tiny")
    assert list(needs) == ["03_baseline-s0", "10_sft-s0", "90_report-s0"]
    assert needs["90_report-s0"] == ["03_baseline-s0", "10_sft-s0"]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ([], ["03_baseline-s0", "10_sft-s0", "90_report-s0"]),
        (["10"], ["03_baseline-s0", "10_sft-s0"]),
        (["*baseline*"], ["03_baseline-s0"]),
        (["10_sft-s0"], ["03_baseline-s0", "10_sft-s0"]),
    ],
)
def test_a_pattern_brings_in_what_its_runs_need(chain, patterns, chosen):
    assert select(graph("tiny"), patterns) == chosen


def test_a_name_is_not_the_beginning_of_another_one(chain):
    chain.params("10_sft-s01", "seed: 1\n").rename(chain.root / "params/tiny/10_sft-s1.yaml")
    chain.params("10_sft-s10", "seed: 10\n")
    assert "10_sft-s10" not in select(graph("tiny"), ["10_sft-s1"])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "10_sft-s0",
            "policy: 03_base-s0\n",
            r"params/tiny/10_sft-s0.yaml names the run 03_base-s0, which has no params file",
        ),
        ("10_sft-s0", "policy: 10_sft-s0\n", "in a circle: 10_sft-s0 <- 10_sft-s0"),
        ("03_baseline-s0", "polcy: base\n", r"params/tiny/03_baseline-s0.yaml: polcy: no such parameter"),
        ("03_baseline-s3", "seed: 4\n", r"03_baseline-s3.yaml describes the run 03_baseline-s4 of preset tiny"),
        ("04_nothing-s0", "seed: 0\n", r"04_nothing-s0.yaml: there is no notebook 04_nothing.ipynb"),
    ],
)
def test_params_files_that_make_no_sense_are_named(chain, file, text, message, capsys):
    chain.params(file, text)
    with pytest.raises(GraphError, match=message):
        graph("tiny")
    assert main(["tiny"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_runs_in_a_circle_are_shown(chain):
    chain.notebook("03_baseline", parameters='runs: str = "none"  # what is read\n')
    chain.params("03_baseline-s0", "runs: 10_sft-s0\n")
    with pytest.raises(GraphError, match=r"in a circle: .*10_sft-s0.* <- .*03_baseline-s0"):
        graph("tiny")
