"""Where the packages lie that programs may import."""

from importlib.metadata import Distribution, PackageNotFoundError, distribution


def find_packages(names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Paths of what these distributions have installed, to be offered to programs; and names with versions.

    Raises ValueError for a distribution that is not installed.
    """
    places, versions = set(), []
    for name in names:
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            raise ValueError(f"the judge is to offer the package {name}, which is not installed") from None
        versions.append(f"{name}=={installed.version}")
        places |= _places(installed)
    return sorted(places), versions


def _places(installed: Distribution) -> set[str]:
    """Folders and modules at the top of a distribution, without scripts and start-up files."""
    tops = {file.parts[0] for file in installed.files or ()}
    return {
        str(installed.locate_file(top)) for top in tops if top not in ("..", "__pycache__") and not top.endswith(".pth")
    }
