"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("geosr", deadline=None)  # a busy machine is no failure
settings.load_profile("geosr")

_SLOW = {
    "any_system", "cluster", "endurance", "environment", "examples", "export", "foreign", "optimised", "package",
    "publishing", "schedulers", "streams", "training", "training_adapt", "training_adversary", "training_data",
    "report", "viewer_page", "zarr", "zarr_anywhere",
}  # fmt: skip
"""Modules that train, or start processes, or write many files."""

_LOWEST = {
    "aoi", "any_scene", "cf", "cli", "codec", "datasets", "metadata", "one_path", "other_readers", "overviews",
    "package", "reader", "shell", "tiff", "to_zarr",
}  # fmt: skip
"""Modules that other libraries matter to most, tested at the lowest versions too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks those modules' tests as single ones elsewhere are marked."""
    for item in items:
        for mark, modules in (("slow", _SLOW), ("lowest", _LOWEST)):
            if item.path.stem.removeprefix("test_") in modules:
                item.add_marker(mark)


_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real imagery; tests that need it skip where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip(f"no real imagery beside the repository ({_SHARED.name})")
    return _SHARED
