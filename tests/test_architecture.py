"""The architecture: which packages `lib` has, which may import which, and how large they are.

The folder says on which floor a module stands: the table "Floors" in CONTRIBUTING.md lists every entry of `lib` from
the ground up, and a new entry that it does not list fails here. `pytest -s tests/test_architecture.py` shows the sizes.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
LIB = ROOT / "lib"
FLOORS = {
    package: int(number)
    for number, packages in re.findall(r"^\| (\d+) \| (.+?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    for package in re.findall(r"`(\w+)`", packages)
}
SELF_CONTAINED = ("judge", "runs")
RESEARCH_LAYER = ("rewards", "metrics", "statistics", "policy", "evaluation", "training")
# The aims are 3,500 and 12,000 lines and are not reached. A change may lower these two numbers; only a new capability
# raises them, and its commit says by how many lines.
RESEARCH_LINES, LIB_LINES = 4801, 19830
ENTRIES = {path.name.removesuffix(".py") for path in LIB.iterdir() if path.name not in ("__init__.py", "__pycache__")}
MODULES = {path: len(path.read_text().splitlines()) for path in sorted(LIB.rglob("*.py"))}


def package_of(module: str) -> str:
    """`lib.judge.host.pool` belongs to `judge`, `lib.rewards` to `rewards`, `lib` itself to nothing."""
    return module.split(".")[1] if "." in module else ""


def package_at(path: Path) -> str:
    return path.relative_to(LIB).parts[0].removesuffix(".py")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import in `lib`, those inside functions included."""
    return grimp.build_graph("lib", cache_dir=None)


@pytest.fixture(scope="module")
def imports(graph) -> list[tuple[str, str]]:
    """Pairs (module, module that it imports) of two different packages."""
    pairs = [(module, name) for module in graph.modules for name in graph.find_modules_directly_imported_by(module)]
    return sorted(pair for pair in pairs if "" not in map(package_of, pair) and len(set(map(package_of, pair))) == 2)


def lines_of(package: str) -> int:
    return sum(lines for path, lines in MODULES.items() if package_at(path) == package)


def test_the_table_of_floors_names_every_entry_of_lib(graph):
    assert set(FLOORS) >= ENTRIES, 'add the new entries to the table "Floors" in CONTRIBUTING.md'
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in MODULES}
    assert names == graph.modules, "a folder without __init__.py hides its imports"


def test_no_package_imports_from_a_floor_above(imports):
    upward = [f"{a} imports {b}" for a, b in imports if FLOORS[package_of(b)] > FLOORS[package_of(a)]]
    assert upward == []


def test_no_two_packages_import_each_other(imports):
    pairs = {(package_of(a), package_of(b)) for a, b in imports}
    both = [f"{a} imports {b}" for a, b in imports if (package_of(b), package_of(a)) in pairs]
    assert both == []


@pytest.mark.parametrize("package", SELF_CONTAINED)
def test_a_self_contained_package_imports_nothing_else_of_lib(imports, package):
    assert [f"{a} imports {b}" for a, b in imports if package_of(a) == package] == []


def test_judge_and_problems_load_no_model_library():
    program = (
        "import sys, lib.problems, lib.judge\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'numpy', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lib_is_small_enough_to_be_read():
    written = {path: lines for path, lines in MODULES.items() if lines}  # without the empty __init__.py
    entries = [path for path in LIB.iterdir() if path.name != "__pycache__"]
    research = sum(map(lines_of, RESEARCH_LAYER))
    largest = max(written, key=lambda path: written[path])
    print(f"\n\n{'floor':>5}  {'package':<12}{'modules':>8}{'lines':>8}{'largest':>8}")
    for package, floor in FLOORS.items():
        if package not in ENTRIES:
            continue  # a place that is kept free
        sizes = [lines for path, lines in written.items() if package_at(path) == package]
        print(f"{floor:>5}  {package:<12}{len(sizes):>8}{sum(sizes):>8}{max(sizes):>8}")
    print(
        f"lib: {len(entries)} entries, {len(written)} modules, {sum(written.values())} lines; research layer {research}"
    )
    print(f"median module {median(written.values()):g}, largest {written[largest]} ({largest.relative_to(ROOT)})")
    too_long = {str(path.relative_to(ROOT)): lines for path, lines in written.items() if lines > 300}
    for what, size, aim in (("research layer", research, 3500), ("lib", sum(written.values()), 12000)):
        print(f"{what}: {size} lines, {max(0, size - aim)} above the aim of {aim}")
    limits = {
        "entries of lib": (len(entries), 16),
        "lines of the research layer": (research, RESEARCH_LINES),
        "lines of lib": (sum(written.values()), LIB_LINES),
        "lines of the median module": (median(written.values()), 150),
    }
    exceeded = {what: f"{size}, at most {most}" for what, (size, most) in limits.items() if size > most}
    assert (exceeded, too_long) == ({}, {})


def test_no_function_has_more_than_ten_parameters():
    too_many = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                a = node.args
                named = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
                count = len([name for name in named if name.arg not in ("self", "cls")])
                if count > 10:
                    too_many[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = count
    assert too_many == {}


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_tree_on_a_page_names_every_package_of_lib(page):
    shown = set(re.findall(r"^\s*lib/(\w+)|^\s+(?:lib/)?(\w+)(?:/|\.py)", (ROOT / page).read_text(), re.MULTILINE))
    assert {name for pair in shown for name in pair} >= ENTRIES
