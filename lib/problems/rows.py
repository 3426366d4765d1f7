"""Rows of a set: from the hub at a pinned revision, from a folder in the hub's shape, or from one file.

The hub is streamed, with no more than the columns that are needed, and what was read is kept under `data/cache/` as a
file of the same schema: the next time needs no network. CodeContests train is 7.5 GB on the hub, nine tenths of it
solutions in other languages, which are left out of the cache.
"""

import gzip
import json
import lzma
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lib.problems.convert import PYTHON3, SOLUTIONS, python3
from lib.runs.paths import root

_OPENERS = {".gz": gzip.open, ".xz": lzma.open}
_DAMAGED = (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError)


@dataclass(frozen=True)
class Hub:
    """A data set of the hub, and the columns that are read from it (none named: all)."""

    dataset: str
    revision: str
    configuration: str | None = None
    columns: tuple[str, ...] = ()


def file_rows(path: Path) -> Iterator[dict]:
    """Rows of a local file: JSON lines, or one JSON array (.json), also compressed (.gz, .xz).

    Raises FileNotFoundError, and ValueError for a file that is damaged, cut off, or no JSON.
    """
    if not path.is_file():
        hint = "; `make demo` or notebooks/00_tiny_world.ipynb writes it" if "tiny" in path.parts else ""
        raise FileNotFoundError(f"no file {path.name} in {path.parent}{hint}")
    number = 0
    with _OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
        try:
            if ".json" in path.suffixes:
                yield from json.load(file)
                return
            for line in file:
                number += 1
                if line.strip():
                    yield json.loads(line)
        except _DAMAGED as error:
            raise ValueError(
                f"{path.name} is damaged or cut off after line {number} ({error}): fetch or make it again"
            ) from None
        except ValueError as error:
            raise ValueError(f"line {number} of {path.name} is not JSON: {error}") from None


def folder_rows(folder: Path, hub: Hub, split: str) -> Iterator[dict]:
    """Rows of a local copy of a hub data set, such as `data/train-00000-of-00039.parquet`, streamed by `datasets`.

    Raises ValueError, with what to do.
    """
    with_card = (folder / "README.md").is_file()  # only a card can name configurations
    try:
        yield from _stream(str(folder), hub.configuration if with_card else None, split, hub.columns)
    except Exception as error:  # whatever `datasets` and `pyarrow` raise for missing splits, files and columns
        raise ValueError(
            f"{folder.name} could not be read as a copy of {hub.dataset}, split {split} ({_first_line(error)}): "
            "download it again; its files are named like data/train-00000-of-00039.parquet"
        ) from error


def hub_rows(hub: Hub, split: str) -> Iterator[dict]:
    """Rows from the cache, else from the hub, and then into the cache.

    Raises ConnectionError when the hub, or the revision there, can't be read.
    """
    kept = "" if not hub.columns or set(SOLUTIONS) <= set(hub.columns) else "-bare"
    name = "-".join([hub.dataset.replace("/", "--"), *([hub.configuration] if hub.configuration else []), split])
    cache = root() / "data" / "cache" / f"{name}-{hub.revision[:8]}{kept}.jsonl.gz"
    if cache.is_file():
        yield from file_rows(cache)
        return
    try:
        rows = _stream(hub.dataset, hub.configuration, split, hub.columns, revision=hub.revision)
        yield from _keep(rows, cache)
    except Exception as error:  # offline, no such revision, a broken transfer: a dozen classes of four libraries
        raise ConnectionError(
            f"could not read {hub.dataset}, split {split}, revision {hub.revision[:8]}, from the hub "
            f"({_first_line(error)}). On a machine without a network give a local copy of the same schema: "
            f"load_problems(..., source=FILE_OR_FOLDER), or put a file of its rows at data/cache/{cache.name}"
        ) from error


def _stream(place: str, configuration: str | None, split: str, columns: tuple[str, ...], **options) -> Iterator[dict]:
    from datasets import load_dataset  # here, so that reading local files needs nothing beyond Python
    from tqdm import tqdm

    if columns:
        options["columns"] = list(columns)
    rows = load_dataset(place, configuration, split=split, streaming=True, **options)
    yield from tqdm(rows, desc=f"{Path(place).name} {split}", unit="row", disable=None, leave=False)


def _keep(rows: Iterator[dict], cache: Path) -> Iterator[dict]:
    """Hands the rows on and writes them to `cache`, which appears when the last of them has been read."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache.parent, prefix=f".{cache.name}.", delete=False) as raw:
        try:
            with gzip.open(raw, "wt", encoding="utf-8", compresslevel=3) as file:
                for row in rows:
                    row = _python3_only(row)
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    yield row
            Path(raw.name).replace(cache)
        finally:
            with suppress(FileNotFoundError):
                Path(raw.name).unlink()


def _python3_only(row: dict) -> dict:
    slim = dict(row)
    for column in set(SOLUTIONS) & row.keys():
        kept = python3(row[column])
        slim[column] = {"language": [PYTHON3] * len(kept), "solution": list(kept)}
    return slim


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
