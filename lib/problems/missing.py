"""Missing data: what a run of a preset would lack, named with the commands that make it, before it does anything."""

from collections import defaultdict

from lib.problems import manifest
from lib.problems.manifest import ManifestError, Problems, reliable
from lib.problems.roles import problem_sets
from lib.problems.sources import SOURCES, given_place


def missing_data(preset: dict) -> list[str]:
    """The manifests, rows and quality marks of the preset's sets that are not on this machine, a line for each source.

    Only train sets need marks. Rows must have been fetched before a run: runs with local weights work without the hub.
    """
    frozen = manifest.read_index()
    lists, rows, marks = defaultdict(list), defaultdict(list), []
    for chosen in problem_sets(preset).values():
        source, split = chosen.source, chosen.split
        if manifest.file_name(source, split) not in frozen:
            lists[source].append(split)
        if where := SOURCES[source].missing_rows(split, given_place(source, chosen.rows)):
            rows[source, where].append(split)
        if chosen.role == "train":
            try:
                reliable(Problems(), source, split)
            except ManifestError:
                marks.append(f"the quality marks of {source}: python -m lib.problems.quality write {source}/{split}")
    lines = [
        f"the rows of {source}, {', '.join(splits)}, from {where}: {_command(source)}"
        for (source, where), splits in rows.items()
    ]
    lines += [
        f"the frozen list of {source}, {', '.join(splits)}: python -m lib.problems.freeze write {source}"
        for source, splits in lists.items()
    ]
    return lines + marks


def _command(source: str) -> str:
    if not SOURCES[source].hub:
        return "git restore data, or run the notebook that makes them"
    fetch = f"python -m lib.problems.freeze fetch {source}"
    return f"with a network, once: {fetch}; without: name a copy, RLVR_ROWS={source}=FILE_OR_FOLDER"
