"""Rows of a problem set: from a local file, a folder in the hub's shape, or the hub at a pinned revision.

Rows from the hub are cached under `data/cache/` in the same schema, so that the next time needs no network. The
cache excludes solutions in other languages than Python 3, nine tenths of the 7.5 GB of CodeContests train.
"""

import gzip
import json
import lzma
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.problems.convert import PYTHON3, SOLUTIONS, python3
from lib.runs import paths

_OPENERS = {".gz": gzip.open, ".xz": lzma.open}
_DAMAGED = (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError)


@dataclass(frozen=True)
class Hub:
    """A data set on the hub, and the columns that are read from it (empty: all)."""

    dataset: str
    revision: str
    configuration: str | None = None
    columns: tuple[str, ...] = ()


def file_rows(path: Path) -> Iterator[dict]:
    """Rows of a local file: JSON lines, or one JSON array (.json), also compressed (.gz, .xz).

    Raises FileNotFoundError, and ValueError for a file that is damaged, cut off, or not JSON.
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
            for number, line in enumerate(file, start=1):  # noqa: B007, an error below gives the number
                if line.strip():
                    yield json.loads(line)
        except _DAMAGED as error:
            raise ValueError(f"{path.name} is damaged or cut off ({error}): fetch or make it again") from None
        except ValueError as error:
            raise ValueError(f"line {number} of {path.name} is not JSON: {error}") from None


def folder_rows(folder: Path, hub: Hub, split: str) -> Iterator[dict]:
    """Rows of a local copy of a hub data set, such as `data/train-00000-of-00039.parquet`. Raises ValueError."""
    with_card = (folder / "README.md").is_file()  # only a card can name configurations
    try:
        yield from _stream(str(folder), hub.configuration if with_card else None, split, hub.columns)
    except Exception as error:  # whatever `datasets` and `pyarrow` raise for missing splits, files and columns
        raise ValueError(
            f"{folder.name} could not be read as a copy of {hub.dataset}, split {split} ({_first_line(error)}): "
            "download it again; its files are named like data/train-00000-of-00039.parquet"
        ) from error


def hub_rows(hub: Hub, split: str) -> Iterator[dict]:
    """Rows from the cache, which is filled from the hub first. Raises ConnectionError if the hub can't be read."""
    cache = hub_cache(hub, split)
    if not cache.is_file():
        try:
            _download(hub, split, cache)
        except Exception as error:  # offline, no such revision, a broken transfer: a dozen classes of four libraries
            raise ConnectionError(
                f"could not read {hub.dataset}, split {split}, revision {hub.revision[:8]}, from the hub "
                f"({_first_line(error)}). On a machine without a network name a local copy of the same schema: "
                "RLVR_ROWS=SOURCE=FILE_OR_FOLDER, or `rows` of the set in preset.yaml"
            ) from error
    return file_rows(cache)


def hub_cache(hub: Hub, split: str) -> Path:
    """The file that keeps the rows of a split once they have been read from the hub."""
    name = "-".join([hub.dataset.replace("/", "--"), *filter(None, [hub.configuration]), split, hub.revision[:8]])
    return paths.root() / "data" / "cache" / f"{name}.jsonl.gz"


def _download(hub: Hub, split: str, cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_name(f".{os.getpid()}.{cache.name}")
    try:
        with gzip.open(partial, "wt", encoding="utf-8", compresslevel=3) as file:
            for row in _stream(hub.dataset, hub.configuration, split, hub.columns, revision=hub.revision):
                for column in set(SOLUTIONS) & row.keys():
                    kept = python3(row[column])
                    row = row | {column: {"language": [PYTHON3] * len(kept), "solution": kept}}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        partial.replace(cache)
    finally:
        partial.unlink(missing_ok=True)


def _stream(place: str, configuration: str | None, split: str, columns: tuple[str, ...], **options) -> Iterator[dict]:
    from datasets import load_dataset  # here, so that reading local files needs nothing beyond Python
    from tqdm import tqdm

    if columns:
        options["columns"] = list(columns)
    rows = load_dataset(place, configuration, split=split, streaming=True, **options)
    yield from tqdm(rows, desc=f"{Path(place).name} {split}", unit="row", disable=None, leave=False)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
