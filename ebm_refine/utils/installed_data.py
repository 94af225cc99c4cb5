"""Data that lies beside the package in its repository, and inside it where it is installed from a wheel (`setup.py`)."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def data_folder(name: str, package: Path = PACKAGE) -> Path:
    """The folder "checkpoints" or "results", wherever it is; it may be missing where somebody took the package alone."""
    installed = package / "installed" / name
    in_repository = {"checkpoints": package.parent / "checkpoints", "results": package.parent / "benchmarks" / "results"}
    return installed if installed.is_dir() else in_repository[name]
