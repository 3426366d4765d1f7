"""The mirror, with the real client: an offline run is written and read back."""

import json
import struct

import pytest
from wandb.proto import wandb_internal_pb2

from lib.mirror import mirror

BLOCK, FULL, LAST = 32 * 1024, 1, 4


def write_run(folder, metrics: dict, status: str = "finished", curve: str = ""):
    folder.mkdir()
    info = {"run": folder.name, "notebook": "10_sft", "preset": "tiny", "seed": 0, "commit": "c" * 40}
    info |= {"fingerprint": "f", "parameters": {"steps": 2}, "status": status}
    (folder / "run_info.json").write_text(json.dumps(info))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if curve:
        (folder / "curves.csv").write_text(curve)
    return folder


def records(file) -> list[bytes]:
    """The records of a .wandb file: LevelDB's log format (blocks of 32 KiB; checksum, length, type) behind 7 bytes."""
    data, position, found, part = file.read_bytes(), 7, [], b""
    assert data[:4] == b":W&B"
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:  # no room for a header: the rest of the block is padding
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        part += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (FULL, LAST):
            found, part = [*found, part], b""
    return found


def history(folder) -> list[dict]:
    """The logged rows of an offline run."""
    [file] = folder.glob("run-*.wandb")
    rows = []
    for data in records(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            row = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
            rows.append({key: value for key, value in row.items() if not key.startswith("_")})
    return rows


@pytest.fixture(autouse=True)
def _off_by_default(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")  # as lib.environment leaves it in every run


def test_an_offline_run_holds_what_the_files_say_under_the_agreed_keys(tmp_path):
    figures = {"n": 3, "accepted_at_1": 0.25, "accepted_at_1_interval": [0.1, 0.4], "cost_per_solved_tokens": None}
    found = {"datasets": {"contests_test": figures | {"by_difficulty": {}}}}
    folder = write_run(tmp_path / "10_sft-s0", found, curve="step,loss\n1,2.5\n2,1.5\n")
    rows = history(mirror(folder, place=tmp_path))
    assert rows == [
        {"train/step": 1, "train/loss": 2.5},
        {"train/step": 2, "train/loss": 1.5},
        {"eval/step": 0, "eval/contests_test/n": 3, "eval/contests_test/accepted_at_1": 0.25},
    ]


def test_a_run_that_measured_checkpoints_is_shown_at_their_steps(tmp_path):
    measured = {
        step: {"datasets": {"codecontests_valid": {"exec_success_rate": rate}}}
        for step, rate in ((100, 0.5), (20, 0.25))
    }
    folder = write_run(tmp_path / "11_checkpoints-s0", {"checkpoints": measured})
    assert history(mirror(folder, place=tmp_path)) == [
        {"eval/step": 20, "eval/codecontests_valid/exec_success_rate": 0.25},
        {"eval/step": 100, "eval/codecontests_valid/exec_success_rate": 0.5},
    ]


@pytest.mark.parametrize(("status", "mode"), [("running", "offline"), ("finished", "on")])
def test_an_unfinished_run_or_an_unknown_mode_is_refused(tmp_path, status, mode):
    with pytest.raises(ValueError, match="can be mirrored when finished, offline or online"):
        mirror(write_run(tmp_path / "10_sft-s0", {}, status), mode, place=tmp_path)
    assert not (tmp_path / "wandb").exists()
