"""python -m lib.evidence check | fill | index | html"""

import argparse
import sys
from pathlib import Path

from lib.evidence import pages
from lib.evidence.check import PAGES, check
from lib.evidence.generated import fill, language_of
from lib.evidence.runs import executed_runs
from lib.evidence.stale import Staleness
from lib.runs import paths


def main(arguments: list[str] | None = None) -> int:
    """The commands. Returns 0, or 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m lib.evidence", description="Checks and shows the evidence.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("check", help="is the evidence complete, and do the pages say what it says?")
    command.add_argument("--strict", action="store_true", help="stale runs are errors, too")
    command = commands.add_parser("fill", help="write the generated blocks of pages")
    command.add_argument("pages", nargs="*", type=Path, help=f"Markdown files (default: {' '.join(PAGES)})")
    commands.add_parser("index", help=f"write artifacts/{pages.INDEX}")
    command = commands.add_parser("html", help="render a preset's report as one HTML file")
    command.add_argument("preset", nargs="?", default="tiny")
    options = vars(parser.parse_args(arguments))
    return {"check": _check, "fill": _fill, "index": _index, "html": _html}[options.pop("command")](**options)


def _check(strict: bool) -> int:
    findings, notes = check(paths.root(), paths.artifacts())
    for finding in sorted(findings, key=lambda finding: not finding.stale):
        print(finding)
    stale = sum(finding.stale for finding in findings)
    wrong = len(findings) - stale
    print(f"{', '.join(notes)}: {wrong} wrong, {stale} stale")
    return int(bool(wrong or (strict and stale)))


def _fill(pages: list[Path]) -> int:
    runs, errors = executed_runs(paths.artifacts()), []
    for file in pages or [path for name in PAGES if (path := paths.root() / name).is_file()]:
        text = file.read_text()
        filled, blocks = fill(text, runs, language_of(file.name))
        if filled != text:
            paths.write_atomically(file, filled)
        errors += [f"{file.name}:{block.line}: {block.error}" for block in blocks if block.error]
        print(f"{file.name}: {'written' if filled != text else 'unchanged'}")
    print(*errors, sep="\n", end="\n" if errors else "", file=sys.stderr)
    return int(bool(errors))


def _index() -> int:
    runs = executed_runs(paths.artifacts())
    paths.write_atomically(paths.artifacts() / pages.INDEX, pages.index(runs, Staleness(runs)))
    print(f"artifacts/{pages.INDEX}: {len(runs)} runs")
    return 0


def _html(preset: str) -> int:
    report = pages.fullest_report(executed_runs(paths.artifacts()), preset)
    if report is None:
        command = f"`python -m lib.matrix {preset} 90_report`"
        print(f"no report of {preset} has been executed: {command} executes one", file=sys.stderr)
        return 1
    file = pages.report_page(paths.artifacts(), preset)
    paths.write_atomically(file, pages.render(report.path))
    print(f"artifacts/{preset}/{file.name} shows {report.name}: open it in any browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
