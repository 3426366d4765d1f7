"""Places, and files that appear all at once."""

import os

import pytest

from lib.runs import paths


def test_the_root_is_where_lib_lies_wherever_one_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (paths.root() / "lib" / "runs" / "paths.py").is_file()


def test_artifacts_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.delenv("RLVR_ARTIFACTS", raising=False)
    assert paths.artifacts() == paths.root() / "artifacts"
    monkeypatch.setenv("RLVR_ARTIFACTS", str(tmp_path))
    assert paths.artifacts() == tmp_path
    monkeypatch.setenv("RLVR_ARTIFACTS", "elsewhere")
    assert paths.artifacts() == paths.root() / "elsewhere"


def test_a_file_is_replaced_as_a_whole_and_readable_by_others(tmp_path):
    file = tmp_path / "deep" / "metrics.json"
    paths.write_atomically(file, "ä")
    paths.write_atomically(file, b"\xff")
    assert file.read_bytes() == b"\xff"
    assert file.stat().st_mode & 0o777 == 0o644
    assert os.listdir(file.parent) == ["metrics.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "metrics.json"
    paths.write_atomically(file, "old")
    with pytest.raises(TypeError):
        paths.write_atomically(file, 3)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["metrics.json"]
