"""What papermill loads, with every call: the engine that knows this repository's runs."""

RunEngine = None  # found when something imports this module first: papermill, imported below, then looks in here at once

from papermill.engines import NBClientEngine as RunEngine  # noqa: E402
