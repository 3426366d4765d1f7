"""The ledger: which problems a run has read and for what purpose, and the proof over all runs that none was misused.

    python -m lib.ledger check artifacts/        exits with 1, naming the offending runs, unless these rules hold:

1. A purpose reads sets of certain roles only (`lib.problems.roles`): no test problem is read for training or selection.
2. A run that has opened a test set for its report does not train or select afterwards, so no test result flows back.
3. Every problem that was measured (verdicts.csv) is in the ledger.
4. The runs that a run compares, those its parameters name and itself, were measured on the same problems of each set.
5. A problem that is `test` in any run is read for training or selection by no run, whatever the set.

`ledger.jsonl` in a run's folder has one line per set that was read: purpose, set, source, split, role, checksum of the
manifest, number of rows left out by reason, ids. In ledgers from before presets named the sets, `set` is the source.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from lib.problems import manifest
from lib.problems.manifest import Problems
from lib.problems.roles import ALLOWED, LEARNS, RULE, Declared, RoleError, declared_roles, role_of
from lib.runs.fingerprint import upstream_names
from lib.runs.paths import json_lines, write_atomically

FILE = "ledger.jsonl"


class Ledger:
    """The ledger of a run. The file is written again after every reading, so that an interrupted run has it too."""

    def __init__(self, folder: Path):
        self._file = folder / FILE
        self._lines: list[dict] = []
        self._write()

    def require_phase(self, purpose: str) -> None:
        """Raises RoleError if `purpose` is `train` or `select` and the run has already read a test set."""
        opened = [line["set"] for line in self._lines if line["role"] == "test"]
        if purpose in LEARNS and opened:
            raise RoleError(
                f"this run has already read the test set {opened[0]}, so it may no longer {purpose}. "
                "Read test sets only after all training and selection"
            )

    def record(
        self, name: str, source: str, split: str, role: str, purpose: str, problems: Problems, frozen: bool = True
    ) -> None:
        """Adds a reading, with the number of excluded rows by reason. The manifest's checksum is None without one."""
        line = {"purpose": purpose, "set": name, "source": source, "split": split, "role": role}
        line["manifest"] = manifest.checksum(source, split)[:16] if frozen else None
        line["left_out"] = dict(problems.dropped)
        self._lines.append(line | {"ids": [problem.id for problem in problems]})
        self._write()

    def _write(self) -> None:
        write_atomically(self._file, json_lines(self._lines))


def read_ledger(run: Path) -> list[dict]:
    """The readings of a run. Raises FileNotFoundError if it kept no ledger."""
    lines = [json.loads(line) for line in (run / FILE).read_text().splitlines()]
    return [{"source": line["set"]} | line for line in lines]


def offences(artifacts: Path) -> list[str]:
    """The violations of the rules in the finished runs below `artifacts` (`<preset>/<run>/`)."""
    infos = {path.parent: json.loads(path.read_text()) for path in sorted(artifacts.glob("*/*/run_info.json"))}
    finished = {run: info for run, info in infos.items() if info["status"] == "finished"}
    declared, ledgers, violations = declared_roles(), {}, []
    for run in finished:
        if not any((run / name).is_file() for name in (FILE, "verdicts.csv", "curves.csv")):
            continue  # it has neither measured nor trained: a report over other runs reads no problems
        try:
            ledgers[run] = read_ledger(run)
        except (FileNotFoundError, ValueError) as error:
            violations.append(f"{_name(run)}: no readable {FILE} ({type(error).__name__}): run it again")
    for run, lines in ledgers.items():
        violations += [f"{_name(run)}: {offence}" for offence in _within(run, lines, declared)]
    violations += _learnt_from_test(ledgers)
    for run in ledgers:
        group = {run.parent / name for name in upstream_names(finished[run]["parameters"])} | {run}
        compared = {other: ledgers[other] for other in group & ledgers.keys()}
        violations += [f"{_name(run)}: {offence}" for offence in _unequal(compared)]
    return violations


def _within(run: Path, lines: list[dict], declared: Declared) -> Iterator[str]:
    """Violations of rules 1 to 3 by one run."""
    test_opened = ""
    for line in lines:
        place, purpose = f"{line['source']}, split {line['split']}", line["purpose"]
        try:
            roles = {role_of(line["source"], line["split"], declared)}
        except (ValueError, RoleError) as error:
            yield f"read {place}, whose role is not known: {error}"
            roles = {line["role"], *declared.get((line["source"], line["split"]), {}).values()}
        if line["role"] not in roles:
            yield f"recorded the role {line['role']} for {place}, whose role is {', '.join(roles)}"
        if purpose not in ALLOWED:
            yield f"read {place} for an unknown purpose, {purpose!r}"
        elif forbidden := sorted(roles - set(ALLOWED[purpose])):
            yield f"read {place} (role {', '.join(forbidden)}) to {purpose}: {RULE[purpose]}"
        if purpose in LEARNS and test_opened:
            yield f"read {place} to {purpose} after the test set {test_opened} was open"
        test_opened = test_opened or (place if "test" in roles else "")
    table = run / "verdicts.csv"
    if table.is_file():
        with table.open(newline="") as file:
            measured = {row["problem_id"] for row in csv.DictReader(file)}
        if unknown := sorted(measured - {problem_id for line in lines for problem_id in line["ids"]}):
            yield f"measured {len(unknown)} problems that its ledger does not hold, such as {unknown[0]}"


def _learnt_from_test(ledgers: dict[Path, list[dict]]) -> Iterator[str]:
    """Violations of rule 5."""
    readings = [(run, line) for run, lines in ledgers.items() for line in lines]
    test = {problem_id for _, line in readings if line["role"] == "test" for problem_id in line["ids"]}
    for run, line in readings:
        if line["purpose"] in LEARNS and (leaked := sorted(test.intersection(line["ids"]))):
            what = f"{len(leaked)} test problems to {line['purpose']} as {line['source']}, split {line['split']}"
            yield f"{_name(run)}: read {what}, such as {leaked[0]}"


def _unequal(ledgers: dict[Path, list[dict]]) -> Iterator[str]:
    """Violations of rule 4 by the runs of one comparison."""
    reported: dict[tuple[str, str], dict[Path, set[str]]] = defaultdict(lambda: defaultdict(set))
    for run, lines in ledgers.items():
        for line in lines:
            if line["purpose"] == "report":
                reported[line["source"], line["split"]][run] |= set(line["ids"])
    for place, runs in reported.items():
        (first, ids), *others = runs.items()
        for other, other_ids in others:
            if different := sorted(ids ^ other_ids):
                yield (
                    f"compares {first.name} and {other.name}, which were not measured on the same problems of "
                    f"{', split '.join(place)}: {len(different)} differ, such as {different[0]}"
                )


def _name(run: Path) -> str:
    return f"{run.parent.name}/{run.name}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.ledger", description=__doc__.split("\n\n")[0])
    parser.add_argument("action", choices=["check"])
    parser.add_argument("artifacts", type=Path, help="the folder with <preset>/<run>/")
    options = parser.parse_args(arguments)
    runs = sorted(options.artifacts.glob("*/*/run_info.json"))
    if not runs:
        print(f"error: no runs below {options.artifacts}: <preset>/<run>/run_info.json is expected", file=sys.stderr)
        return 2
    found = offences(options.artifacts)
    print("\n".join(found) or f"{len(runs)} runs: no test problem was read to train or to select; compared runs agree")
    return int(bool(found))
