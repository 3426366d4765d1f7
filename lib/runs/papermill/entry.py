"""What papermill loads with every call, whatever the notebook: the engine that knows this repository's runs.

    papermill notebooks/30_grpo.ipynb -p reward sparse      writes artifacts/tiny/30_grpo-sparse-s0/, see README.md

The plug-in looks at templates in this repository's `notebooks/` and leaves everything else to what papermill would do
without it. It is installed under a name of its own, `rlvr_papermill`, and never imports `lib` by that name, because
the code beside which papermill is used may have a `lib` too. When something of it fails, papermill goes on without it.

    entry         this module: installs the two hooks below, and nothing may escape from here
    command_line  gives a run its output path, and checks parameters before anything else happens
    engine        executes: plan (which run is it?), targets (where to?), client (the kernel), clean, failure
"""

import sys

RunEngine = None  # found when this module is what imports papermill, which then looks in here before it is done


def _install() -> type:
    try:
        from . import command_line, engine

        engine.become_the_default()
        command_line.prepare_when_imported()
        return engine.RunEngine
    except Exception as error:
        from papermill.engines import NBClientEngine

        print(f"rlvr_papermill is not in use ({type(error).__name__}: {error})", file=sys.stderr)
        return NBClientEngine


RunEngine = _install()
