"""Where the project keeps an engine's manifest and its cached files."""

from pathlib import Path

from seamark.local.engines.errors import EngineMissingError


def project_root() -> Path:
    """The checkout this code runs from: the nearest folder above it that holds ``engines/``.

    Raises EngineMissingError when the package was installed away from a checkout, because
    the pinned versions and the configuration of the engines are part of the checkout.
    """
    for folder in Path(__file__).resolve().parents:
        if (folder / "engines" / "kafka" / "server.properties").is_file():
            return folder
    raise EngineMissingError(
        f"no folder above {Path(__file__).parent} holds engines/kafka/server.properties: "
        "run the engines from a checkout of the project (pip install --editable services/local)"
    )


def manifest(engine: str, name: str) -> Path:
    """A committed file of one engine, such as ``manifest("kafka", "jars.lock")``."""
    return project_root() / "engines" / engine / name


def cache(engine: str) -> Path:
    """The folder for one engine's downloads. It may be deleted at any time."""
    return project_root() / ".cache" / "engines" / engine
