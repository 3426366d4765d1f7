"""These tests want an environment of their own, with vLLM built for CPUs: `make test-vllm` makes it and runs them."""

import importlib.util
from pathlib import Path

import pytest

from lib.policy.models import load_policy, load_tokenizer
from lib.runs.paths import root


def pytest_collection_modifyitems(items):
    if importlib.util.find_spec("vllm") is None:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason="vLLM is not installed here: `make test-vllm` runs this"))


@pytest.fixture(scope="session", autouse=True)
def small_and_quiet():
    """A tenth of the memory that vLLM would take, its log without what is no error, nothing asked of the hub."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("VLLM_CPU_KVCACHE_SPACE", "1"),
            ("VLLM_LOGGING_LEVEL", "ERROR"),
            ("HF_HUB_OFFLINE", "1"),
            ("VLLM_NO_USAGE_STATS", "1"),
        ):
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def policy():
    path = root() / "data" / "tiny" / "base_model"
    return load_policy(path), load_tokenizer(path)
