"""The entry point that papermill loads with every call: it installs the engine for this repository's runs.

    papermill notebooks/30_grpo.ipynb -p reward sparse      writes artifacts/tiny/30_grpo-sparse-s0/, see README.md

The plug-in handles the templates in this repository's `notebooks/` and leaves every other notebook to papermill. It is
installed as the package `rlvr_runs` and never imports `lib` by that name, because the project beside which papermill is
used may have its own `lib`. If a part of it fails, papermill goes on without it.

    command_line  adds the output path to a call, and checks parameters before anything else happens
    engine        executes a run: plan (which run?), targets (which folder?), client (the kernel), clean, failure
"""

import sys

RunEngine = None  # papermill may look for it while this module is still being imported


def _install() -> type:
    try:
        from . import command_line, engine

        engine.become_the_default()
        command_line.prepare_when_imported()
        return engine.RunEngine
    except Exception as error:
        from papermill.engines import NBClientEngine

        hint = "`pip install -e .` installs it again"
        print(f"rlvr_runs is not in use ({type(error).__name__}: {error}); {hint}", file=sys.stderr)
        return NBClientEngine


RunEngine = _install()
