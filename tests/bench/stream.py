"""How much memory does a copy of CodeContests in the hub's shape take? `python tests/bench/stream.py [rows]` prints it.

The rows are those of tiny_contests train, over and over, each with 40 solutions of 1,500 characters in other languages,
so that solutions are most of the bytes, as on the hub. `datasets` streams them from parquet shards, 400 rows each.
"""

import json
import lzma
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import pyarrow
import pyarrow.parquet

from lib.problems import load_problems
from lib.runs.paths import root

SHARD = 400


def write(folder: Path, rows: int) -> None:
    rng = random.Random(0)
    with lzma.open(root() / "data" / "tiny" / "contests" / "train.jsonl.xz", "rt", encoding="utf-8") as file:
        lines = file.readlines()
    source = enumerate(islice(cycle(lines), rows))
    shards = -(-rows // SHARD)
    folder.mkdir()
    for shard in range(shards):
        chosen = []
        for number, line in islice(source, SHARD):
            row = json.loads(line)
            others = [rng.randbytes(750).hex() for _ in range(40)]
            row["name"] = f"{number} {row['name']}"
            row["solutions"]["language"] += [2] * len(others)
            row["solutions"]["solution"] += others
            chosen.append(row)
        table = pyarrow.Table.from_pylist(chosen)
        pyarrow.parquet.write_table(table, folder / f"train-{shard:05d}-of-{shards:05d}.parquet", row_group_size=100)


def measure(folder: str, solutions: str) -> None:
    """In a process of its own: its peak before and after."""
    import datasets  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    problems = load_problems("codecontests", "train", folder, solutions=solutions == "with", frozen=False)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kept = sum(len(test.input) + len(test.output) for problem in problems for test in problem.tests) / 2**20
    print(
        f"{solutions} solutions: {len(problems)} problems in {seconds:.1f} s, peak {before:.0f} -> {peak:.0f} MiB, "
        f"of which {kept:.0f} MiB are the tests that were asked for"
    )


def main(rows: int = 4000) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        write(Path(temporary) / "data", rows)
        size = sum(path.stat().st_size for path in Path(temporary).rglob("*.parquet")) / 2**20
        print(f"{rows} rows, {size:.0f} MiB of parquet", flush=True)
        for solutions in ("with", "without"):
            subprocess.run([sys.executable, __file__, temporary, solutions], check=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(*sys.argv[1:])
    else:
        main(*map(int, sys.argv[1:]))
