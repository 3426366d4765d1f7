import json

import pytest

from lib.runs.parameters import read_parameters, resolve, run_name
from lib.runs.params_files import ParameterError, load_params_file, load_preset

CELL = """
preset: str = "tiny"  # tiny | qwen7b
seed: int = 0  # of everything random
reward: str = "dense"  # dense | sparse: what one sampled program earns
policy: str = "10_sft-s0"  # the run whose weights it starts from, or base
steps: int = 100
learning_rate: float = 1e-4  # peak, reached after warm-up
mixture: str | dict = "dense"  # a reward, or rewards with their weights
log_samples: bool = False  # "#" is not a valid comment inside a string
""".strip()


@pytest.fixture
def template(tmp_path):
    """A repository with one template and two params files, as far as naming a run looks at it."""
    notebook = tmp_path / "notebooks" / "30_grpo.ipynb"
    write_template(notebook, CELL)
    params = tmp_path / "params" / "tiny"
    params.mkdir(parents=True)
    (params / "preset.yaml").write_text("threads: 2\n")
    (params / "30_grpo-dense-s0.yaml").write_text("reward: dense\n")
    (params / "30_grpo-sparse-s0.yaml").write_text("reward: sparse\nlearning_rate: 2e-4\n")
    return notebook


def write_template(path, source, tags=("parameters",)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [
        {"cell_type": "markdown", "metadata": {"tags": ["parameters"]}, "source": "no code"},
        {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source.splitlines(keepends=True)},
    ]
    path.write_text(json.dumps({"cells": cells}))


def name(template, **given):
    return run_name(template, resolve(read_parameters(template), given))


def test_a_parameter_is_read_with_name_type_default_help_and_choices(template):
    parameters = read_parameters(template)
    assert list(parameters) == [
        "preset",
        "seed",
        "reward",
        "policy",
        "steps",
        "learning_rate",
        "mixture",
        "log_samples",
    ]
    reward = parameters["reward"]
    assert (reward.type, reward.default, reward.choices) == ("str", "dense", ("dense", "sparse"))
    assert reward.help == "dense | sparse: what one sampled program earns"
    assert parameters["log_samples"].help == '"#" is not a valid comment inside a string'
    assert parameters["steps"].help == ""
    assert str(parameters["learning_rate"]) == "learning_rate: float = 0.0001  # peak, reached after warm-up"


def test_choices_are_of_the_type_of_their_parameter(tmp_path):
    write_template(tmp_path / "n.ipynb", "group: int = 4  # 4 | 8")
    assert read_parameters(tmp_path / "n.ipynb")["group"].choices == (4, 8)


def test_a_notebook_without_a_parameters_cell_declares_none(tmp_path):
    write_template(tmp_path / "n.ipynb", "x = 1", tags=())
    assert read_parameters(tmp_path / "n.ipynb") == {}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("steps = 3", "line 1: expected `name: type = literal  # help`"),
        ("steps: list = []", "type one of str, int, float, bool, str | dict"),
        ("steps: int = 2 * 50", "the default must be a literal"),
        ("steps: int = '3'", "'3' is not a valid int"),
        ("steps: int = 1.5", "1.5 is not a valid int"),
        ("reward: str = 'dens'  # dense | sparse", "'dens' is not one of dense | sparse"),
        ("%time", "invalid syntax"),
    ],
)
def test_a_badly_declared_parameter_is_an_error_that_names_notebook_and_line(tmp_path, line, complaint):
    write_template(tmp_path / "n.ipynb", line)
    with pytest.raises(ParameterError, match=r"parameters cell of n\.ipynb") as error:
        read_parameters(tmp_path / "n.ipynb")
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("parameter", "value", "converted"),
    [
        ("learning_rate", "1e-5", 1e-5),  # what YAML 1.1 makes of 1e-5
        ("learning_rate", 1, 1.0),
        ("steps", "20", 20),  # papermill -r steps 20
        ("log_samples", "true", True),
        ("policy", "12e4567", "12e4567"),  # a commit, not infinity
        ("mixture", "dense", "dense"),
        ("mixture", {"dense": 1.0}, {"dense": 1.0}),
        ("mixture", '{"dense": 1, "format": 0.1}', {"dense": 1, "format": 0.1}),  # papermill -p mixture '{...}'
    ],
)
def test_a_value_becomes_the_type_of_its_parameter(template, parameter, value, converted):
    resolved = resolve(read_parameters(template), {parameter: value})[parameter]
    assert (resolved, type(resolved)) == (converted, type(converted))


@pytest.mark.parametrize(
    ("parameter", "value", "complaint"),
    [
        ("steps", 1.5, "1.5 is not a valid int"),
        ("steps", True, "True is not a valid int"),
        ("steps", None, "None is not a valid int"),
        ("steps", "many", "'many' is not a valid int"),
        ("learning_rate", False, "False is not a valid float"),
        ("learning_rate", float("inf"), "inf is not a valid float"),
        ("log_samples", 1, "1 is not a valid bool"),
        ("policy", 2026, "2026 is not a valid str, put it in quotes"),
        ("reward", "spars", "'spars' is not one of dense | sparse"),
        ("mixture", 1.5, "1.5 is not a valid str | dict"),
    ],
)
def test_a_value_of_another_type_is_an_error(template, parameter, value, complaint):
    with pytest.raises(ParameterError) as error:
        resolve(read_parameters(template), {parameter: value})
    assert f"{parameter}: {complaint}" in str(error.value)


def test_all_that_is_wrong_is_said_at_once_with_the_known_parameters(template):
    with pytest.raises(ParameterError) as error:
        resolve(read_parameters(template), {"rewrd": "dense", "steps": 1.5})
    message = str(error.value)
    assert "rewrd: no such parameter, did you mean reward?" in message
    assert "steps: 1.5 is not a valid int" in message
    assert "  learning_rate: float = 0.0001  # peak, reached after warm-up" in message


def test_a_run_is_named_after_the_nearest_params_file(template):
    assert name(template) == "30_grpo-dense-s0"
    assert name(template, reward="sparse", learning_rate=2e-4) == "30_grpo-sparse-s0"
    assert name(template, reward="sparse", learning_rate=2e-4, seed=3) == "30_grpo-sparse-s3"


def test_what_differs_from_the_params_file_is_part_of_the_name(template):
    assert name(template, learning_rate=1e-3) == "30_grpo-dense-learning_rate=0.001-s0"
    assert name(template, log_samples=True, steps=20) == "30_grpo-dense-steps=20-log_samples=true-s0"
    assert name(template, mixture={"format": 0.1, "dense": 1}) == "30_grpo-dense-mixture=dense:1+format:0.1-s0"
    assert name(template, policy="a/b") == "30_grpo-dense-policy=a%2Fb-s0"


def test_a_run_never_takes_the_name_of_a_params_file_with_other_values(template):
    (template.parent.parent / "params/tiny/30_grpo-dense-s1.yaml").write_text("seed: 1\npolicy: 10_sft-s1\n")
    assert name(template, seed=1, policy="10_sft-s1") == "30_grpo-dense-s1"
    assert name(template, seed=1) == "30_grpo-dense-policy=10_sft-s0-s1"
    assert name(template, seed=2) == "30_grpo-dense-s2"


def test_a_params_file_without_a_variant_counts_too(template):
    (template.parent.parent / "params/tiny/30_grpo-s0.yaml").write_text("steps: 7\n")
    assert name(template, steps=7, seed=5) == "30_grpo-s5"


def test_without_params_files_every_difference_from_the_defaults_is_part_of_the_name(template):
    assert name(template, preset="qwen7b", reward="sparse") == "30_grpo-reward=sparse-s0"


def test_a_very_long_name_is_cut_and_stays_unique(template):
    first, second = (name(template, policy=letter * 300) for letter in "ab")
    assert len(first) < 255
    assert first.endswith("-s0")
    assert first != second


def test_a_params_file_that_does_not_suit_the_notebook_is_named(template):
    (template.parent.parent / "params/tiny/30_grpo-odd-s0.yaml").write_text("stepz: 3\n")
    with pytest.raises(ParameterError, match=r"params/tiny/30_grpo-odd-s0\.yaml: stepz: no such parameter"):
        name(template)


def test_a_params_file_is_free_of_the_traps_of_yaml(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "a: 1e-5\nb: yes\nc: 2026-01-02\nd: 010\ne: 12e4567\nf: true\ng: -3\nh: 1.5\ni:\nj: {k: [1, 12:30]}\n"
    )
    assert load_params_file(path) == {
        "a": 1e-5,
        "b": "yes",
        "c": "2026-01-02",
        "d": "010",
        "e": "12e4567",
        "f": True,
        "g": -3,
        "h": 1.5,
        "i": None,
        "j": {"k": [1, "12:30"]},
    }
    path.write_text("# nothing but a comment\n")
    assert load_params_file(path) == {}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- reward", "must hold lines such as `reward: sparse`, not a list"),
        ("reward: dense\nreward: sparse", "the key reward occurs twice"),
        ("reward: [", "is not valid YAML"),
    ],
)
def test_a_params_file_that_holds_no_parameters_is_an_error_that_names_it(tmp_path, text, complaint):
    path = tmp_path / "params" / "tiny" / "run.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ParameterError, match=r"params/tiny/run\.yaml") as error:
        load_params_file(path)
    assert complaint in str(error.value)


@pytest.fixture
def presets(repository):
    repository.write("params/preset_keys.yaml", "base_model: a folder or a hub name\nthreads: of PyTorch\n")
    return repository


def test_a_typo_in_a_preset_is_an_error_with_the_nearest_name(presets):
    presets.write("params/tiny/preset.yaml", "threads: 2\n")
    assert load_preset("tiny") == {"threads": 2}
    presets.write("params/tiny/preset.yaml", "thread: 2\n")
    with pytest.raises(ParameterError, match=r"params/tiny/preset\.yaml: thread: no such key, did you mean threads\?"):
        load_preset("tiny")


def test_an_unknown_preset_is_an_error_that_lists_the_presets(presets):
    with pytest.raises(ParameterError, match=r"no preset 'tinny'.*\(presets: tiny\)"):
        load_preset("tinny")
