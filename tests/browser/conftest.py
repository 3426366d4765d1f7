"""What a person has: a browser, and JupyterLab on a copy of the repository. `make test-browser` runs these tests.

The browser is the distribution's Chromium (or Chrome), driven by Playwright. Without one that starts, they are skipped.
Pictures of what was seen are left in `artifacts/scratch/browser/`.
"""

import contextlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from lib.runs.paths import root

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = float(os.environ.get("RLVR_BROWSER_PATIENCE", "180"))  # seconds for anything to appear
PICTURES = root() / "artifacts" / "scratch" / "browser"


@cache
def browser_path() -> str | None:
    """A Chromium of this machine that starts. (Ubuntu's package is none where snap does not run.)"""
    for name in BROWSERS:
        path = shutil.which(name)
        if path and subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0:
            return path
    return None


@cache
def what_is_missing() -> str | None:
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed here: pip install -e '.[cpu,dev]'"
    if browser_path() is None:
        return f"no Chromium here that starts ({', '.join(BROWSERS)}): apt install chromium, then `make test-browser`"
    return None


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(6 * PATIENCE))
            if reason := what_is_missing():
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's own sandbox can't be had in containers, nor by root; all that is opened here is ours
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        chromium = playwright.chromium.launch(executable_path=browser_path(), args=options)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A window of a laptop's size. What goes wrong in the page itself fails the test."""
    window = browser.new_page(viewport={"width": 1400, "height": 1000})
    window.set_default_timeout(PATIENCE * 1000)
    errors = []
    window.on("pageerror", lambda error: errors.append(str(error)))
    yield window
    window.close()
    assert errors == []


@dataclass
class Lab:
    """JupyterLab on `folder`, a copy of the repository whose runs go to `artifacts`."""

    folder: Path
    artifacts: Path
    address: str
    token: str

    def open(self, page, notebook: str) -> None:
        """Opens a notebook and waits until its kernel waits."""
        page.goto(f"{self.address}lab/tree/notebooks/{notebook}.ipynb?reset&token={self.token}")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        # the notebook's own sign says idle before there is a kernel, and to run cells then asks which kernel
        page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()

    def give(self, page, notebook: str, values: dict[str, str]) -> None:
        """Types other values into the parameters cell, as a person would. `values`: parameter -> Python literal."""
        cells = json.loads((self.folder / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
        [source] = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
        for name, value in values.items():
            source, found = re.subn(rf"^({name}: \w+) = .*?(  #.*)$", rf"\1 = {value}\2", source, flags=re.MULTILINE)
            assert found == 1, f"{notebook} has no parameter {name}"
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(source)

    def run_all(self, page) -> None:
        """Run > Run All Cells; returns when the last cell has run. Fails with what the last cell that ran has shown."""
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        prompts = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(one => one.textContent)"
        page.wait_for_function(f"() => {prompts}.some(one => one.includes('*'))")
        page.wait_for_function(f"() => {prompts}.every(one => !one.includes('*'))", timeout=3 * PATIENCE * 1000)
        ran = [any(map(str.isdigit, prompt)) for prompt in page.evaluate(prompts)]
        last = page.locator(".jp-CodeCell").nth(sum(ran) - 1)
        last.scroll_into_view_if_needed()  # the text of what can't be seen is empty
        assert all(ran), f"cell {sum(ran)} was the last that ran:\n{last.inner_text()}"

    def saved(self, page, notebook: str) -> dict:
        """The notebook as Ctrl+S leaves it."""
        file = self.folder / "notebooks" / f"{notebook}.ipynb"
        before = file.stat().st_mtime_ns
        page.keyboard.press("Control+s")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if file.stat().st_mtime_ns != before:
                with contextlib.suppress(ValueError):  # the server writes in place: it may be half-way
                    return json.loads(file.read_text())
            page.wait_for_timeout(200)
        raise AssertionError(f"Ctrl+S did not save {notebook}")


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Real JupyterLab, with settings and kernels of its own."""
    place = tmp_path_factory.mktemp("lab")
    folder, artifacts, home = place / "repository", place / "artifacts", place / "home"
    for part in ("lib", "notebooks", "params", "data"):
        shutil.copytree(root() / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "cache"))
    news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (home / "config" / "labconfig").mkdir(parents=True)
    (home / "config" / "labconfig" / "page_config.json").write_text(json.dumps(news))
    folders = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RLVR_")}
    environment |= {f"JUPYTER_{key}_DIR": str(home / name) for key, name in folders.items()}
    environment |= {"PYTHONPATH": str(folder), "RLVR_ARTIFACTS": str(artifacts), "IPYTHONDIR": str(home / "ipython")}
    token, log = secrets.token_hex(16), place / "lab.log"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port=0"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--ServerApp.ip=127.0.0.1"]
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        yield Lab(folder, artifacts, _address(home / "runtime" / f"jpserver-{server.pid}.json", server, log), token)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:  # it waits for kernels that are still starting
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _address(file: Path, server: subprocess.Popen, log: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while not (file.is_file() and file.stat().st_size):  # which is made first and written then
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"JupyterLab did not start:\n{log.read_text()}"
        time.sleep(0.1)
    return json.loads(file.read_text())["url"]


@pytest.fixture(scope="session")
def picture():
    """Keeps a picture of a page under a name."""

    def keep(page, name: str, **options) -> Path:
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"{name}.png", **options)
        return PICTURES / f"{name}.png"

    return keep
