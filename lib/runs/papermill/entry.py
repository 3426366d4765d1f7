"""The entry point that papermill loads with every call: it installs the engine for this repository's runs.

    papermill notebooks/30_grpo.ipynb -p reward sparse      writes artifacts/tiny/30_grpo-sparse-s0/, see README.md

The plug-in handles the templates in this repository's `notebooks/` and leaves every other notebook to papermill. It is
installed as the package `rlvr_papermill`, and imports the folder above it as `rlvr_runs`, never as `lib.runs`, because
the project beside which papermill is used may have its own `lib`. If a part of it fails, papermill goes on without it.

    command_line  adds the output path to a call, and checks parameters before anything else happens
    engine        executes a run: plan (which run?), targets (which folder?), client (the kernel), clean, failure
"""

import importlib.util
import sys
from pathlib import Path

RunEngine = None  # papermill may look for it while this module is still being imported


def _install() -> type:
    try:
        folder = Path(__file__).resolve().parents[1]
        spec = importlib.util.spec_from_file_location(
            "rlvr_runs", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec
        assert spec.loader
        sys.modules[spec.name] = package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
        from rlvr_runs.papermill import command_line, engine  # ty: ignore[import-not-found] made above

        engine.become_the_default()
        command_line.prepare_when_imported()
        return engine.RunEngine
    except Exception as error:
        from papermill.engines import NBClientEngine

        print(f"rlvr_papermill is not in use ({type(error).__name__}: {error})", file=sys.stderr)
        return NBClientEngine


RunEngine = _install()
