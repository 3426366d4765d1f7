"""Does the judge say what other judges recorded? `python tests/bench/replays.py [set ...]` prints agreement and causes.

Five sets of programs that language models wrote, with recorded verdicts (../shared/data/verdicts; about 3,700 rows; ten
minutes on two cores, most of them spent in endless programs). Every disagreement is listed with its cause, found by
looking at the program.

One cause is tried out: MapCoder's grader for MBPP ran all programs in one process and in the same globals, so that
after task 126, which asks for a function named `sum`, programs that add something up met that one. The column `leak` is
the agreement when every program behind task 126 that uses `sum` finds the answer of its own run to 126: the
disagreements that this mends count as caused by it, and what it spoils is listed as well. The judge itself does not
copy the fault; `raw` is its agreement.

Ends with status 1 if a set is below its bound (with the leak, where there is one) or a disagreement has no cause.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "judge"))

from recorded import REPLAYS, disagreements, imitated

from lib.judge import Judge


def main(chosen: list[str]) -> int:
    failed = False
    found = []
    for replay, bound in REPLAYS.items():
        name = replay.__name__
        if chosen and name not in chosen:
            continue
        begin = time.monotonic()
        rows = list(replay())
        with Judge() as judge:
            different = disagreements(replay, rows, judge)
            leaked = imitated(rows, judge)
        print(f"\n{name}: {len(rows)} rows, {len(different)} disagree")
        for row, verdict, cause in different:
            said = "passed" if row.recorded else "failed"
            print(f"  {row.task} ({row.run}): {said} there, {verdict.error_type} here; {cause or 'NO CAUSE KNOWN'}")
            failed |= not cause
        for row, fits in zip(rows, leaked, strict=True):
            if row.before and not fits and row.recorded:
                print(f"  {row.task} ({row.run}): passed there and here, though the leak would fail it")
        raw, agreement = 1 - len(different) / len(rows), sum(leaked) / len(rows)
        failed |= agreement < bound
        found.append((name, len(rows), raw, agreement, bound, time.monotonic() - begin))
    print(f"\n{'set':<20}{'rows':>6}{'raw':>11}{'leak':>9}{'bound':>8}{'wall s':>8}")
    for name, count, raw, agreement, bound, seconds in found:
        print(f"{name:<20}{count:>6}{raw:>11.2%}{agreement:>9.2%}{bound:>8.1%}{seconds:>8.0f}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
