"""The ledger: which problems a run has read and what for, kept while it runs and checked over all runs afterwards.

    python -m lib.ledger check artifacts/        proves the rules below, names the offender and exits with 1 otherwise

`ledger.jsonl` in a run's folder has one line per set that was read: purpose, name of the set, source, split, role,
checksum of the manifest, ids. The rules:
1. A purpose opens the sets of some roles only (ALLOWED): no `test` problem is read for training or selection.
2. A run that has opened a test set for its report trains and selects no more, so that a test result can't flow back.
3. Every problem that was measured (verdicts.csv) is in the ledger.
4. The runs that one run compares, those its parameters name and itself, were measured on the same problems of a set.
5. A problem that is `test` anywhere is read for training or selection by no run, whatever the set it was read from.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from lib.judge.problem import Problem
from lib.problems import manifest
from lib.problems.roles import ALLOWED, LEARNS, RULE, RoleError, agreed_role, declared_roles
from lib.runs.fingerprint import upstream_names
from lib.runs.paths import json_lines, write_atomically

FILE = "ledger.jsonl"


class Ledger:
    """The ledger of one run, written anew at each reading, so that an interrupted run has it too."""

    def __init__(self, folder: Path):
        self._file = folder / FILE
        self._lines: list[dict] = []
        self._write()

    def require_phase(self, purpose: str) -> None:
        """Raises RoleError when `purpose` would learn from a run that has opened a test set already."""
        opened = [line["set"] for line in self._lines if line["role"] == "test"]
        if purpose in LEARNS and opened:
            raise RoleError(
                f"this run has opened the test set {opened[0]}: from then on it may not {purpose}. "
                "Open test sets when all training and selection is done"
            )

    def record(
        self, name: str, source: str, split: str, role: str, purpose: str, problems: list[Problem], frozen: bool = True
    ) -> None:
        """Adds one reading; the manifest's checksum is None for rows that have none."""
        self._lines.append(
            {
                "purpose": purpose,
                "set": name,
                "source": source,
                "split": split,
                "role": role,
                "manifest": manifest.checksum(source, split)[:16] if frozen else None,
                "ids": [problem.id for problem in problems],
            }
        )
        self._write()

    def _write(self) -> None:
        write_atomically(self._file, json_lines(self._lines))


def read_ledger(run: Path) -> list[dict]:
    """The readings of a finished run. Raises FileNotFoundError when it kept no ledger."""
    lines = [json.loads(line) for line in (run / FILE).read_text().splitlines()]
    return [{"source": line["set"]} | line for line in lines]  # before presets named the sets, a set was its source


def offences(artifacts: Path) -> list[str]:
    """What is against the rules in the runs below `artifacts` (`<preset>/<run>/`); none: all is proved."""
    infos = {path.parent: json.loads(path.read_text()) for path in sorted(artifacts.glob("*/*/run_info.json"))}
    finished = {run: info for run, info in infos.items() if info["status"] == "finished"}
    ledgers, found = {}, []
    for run in finished:
        try:
            ledgers[run] = read_ledger(run)
        except (FileNotFoundError, ValueError) as error:
            found.append(f"{_name(run)}: no readable {FILE} ({type(error).__name__}): run it again")
    declared = declared_roles()
    for run, lines in ledgers.items():
        found += [f"{_name(run)}: {offence}" for offence in _of_one(run, lines, declared)]
    found += _test_ids_learnt_from(ledgers)
    for run in ledgers:
        group = {run.parent / name for name in upstream_names(finished[run]["parameters"])} | {run}
        found += [
            f"{_name(run)}: {offence}"
            for offence in _unequal_arms({one: ledgers[one] for one in group & ledgers.keys()})
        ]
    return found


def _of_one(run: Path, lines: list[dict], declared: dict[tuple[str, str], dict[str, str]]) -> Iterator[str]:
    test_opened = ""
    for line in lines:
        place = f"{line['source']}, split {line['split']}"
        roles = declared.get((line["source"], line["split"]), {})
        try:
            role = agreed_role(line["source"], line["split"], roles)
        except (ValueError, RoleError) as error:
            yield f"read {place}, whose role is unknown: {error}"
            role = _role_in_preset(run.parent.name, roles) or line["role"]
        if role != line["role"]:
            yield f"recorded the role {line['role']} for {place}, whose role is {role}"
        if line["purpose"] not in ALLOWED:
            yield f"read {place} for an unknown purpose, {line['purpose']!r}"
        elif role not in ALLOWED[line["purpose"]]:
            yield f"read {place} (role {role}) to {line['purpose']}: {RULE[line['purpose']]}"
        elif line["purpose"] in LEARNS and "test" in roles.values():
            yield f"read {place} to {line['purpose']}, which is a test set elsewhere: {RULE[line['purpose']]}"
        if line["purpose"] in LEARNS and test_opened:
            yield f"read {place} to {line['purpose']} after the test set {test_opened} was open"
        test_opened = test_opened or (place if role == "test" else "")
    read = {one for line in lines for one in line["ids"]}
    table = run / "verdicts.csv"
    if table.is_file():
        with table.open(newline="") as file:
            unknown = sorted({row["problem_id"] for row in csv.DictReader(file)} - read)
        if unknown:
            yield f"measured {len(unknown)} problems that its ledger does not hold, such as {unknown[0]}"


def _role_in_preset(preset: str, roles: dict[str, str]) -> str | None:
    return next((role for place, role in roles.items() if place.startswith(f"params/{preset}/")), None)


def _test_ids_learnt_from(ledgers: dict[Path, list[dict]]) -> Iterator[str]:
    test = {one for lines in ledgers.values() for line in lines if line["role"] == "test" for one in line["ids"]}
    for run, lines in ledgers.items():
        for line in lines:
            leaked = sorted(test.intersection(line["ids"])) if line["purpose"] in LEARNS else []
            if leaked:
                what = f"{len(leaked)} test problems to {line['purpose']} as {line['source']}, split {line['split']}"
                yield f"{_name(run)}: read {what}, such as {leaked[0]}"


def _unequal_arms(ledgers: dict[Path, list[dict]]) -> Iterator[str]:
    """Sets that the runs of one comparison did not report on the same problems."""
    reported: dict[tuple[str, str], dict[Path, set[str]]] = defaultdict(lambda: defaultdict(set))
    for run, lines in ledgers.items():
        for line in lines:
            if line["purpose"] == "report":
                reported[line["source"], line["split"]][run] |= set(line["ids"])
    for place, arms in reported.items():
        (first, ids), *others = arms.items()
        for other, others_ids in others:
            if ids != others_ids:
                example = sorted(ids ^ others_ids)[0]
                yield (
                    f"compares {first.name} and {other.name}, which were not measured on the same problems of "
                    f"{', split '.join(place)}: {len(ids ^ others_ids)} differ, such as {example}"
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
    print("\n".join(found) or f"{len(runs)} runs: no test problem was read to train or to select, all arms are equal")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
