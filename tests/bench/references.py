"""Are all reference solutions right? `python tests/bench/references.py [workers]` prints a line per set.

HumanEval, MBPP and 300 labelled-correct programs of CodeContests (../shared/data; two minutes on two idle cores). Ends
with status 1 if one of them is not accepted.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "judge"))

from test_reference import accepted, codecontests, humaneval, mbpp

from lib.judge import Judge


def main(workers: int = 2) -> int:
    failed = 0
    with Judge(workers=workers) as judge:
        for of_set in (humaneval, mbpp, codecontests):
            pairs, begin = of_set(), time.monotonic()
            right = accepted(judge, pairs)
            failed += len(pairs) - right
            print(f"{of_set.__name__:<14}{right}/{len(pairs)} in {time.monotonic() - begin:.1f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
