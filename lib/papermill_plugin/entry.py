"""What papermill loads, with every call: the engine that knows this repository's runs."""

RunEngine = None  # found when this module is what imports papermill, which then looks in here before it is done

from papermill.engines import NBClientEngine as RunEngine  # noqa: E402, F401, F811
