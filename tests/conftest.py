"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("geosr", deadline=None)  # a busy machine is no failure
settings.load_profile("geosr")

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real imagery; tests that need it skip where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip(f"no real imagery beside the repository ({_SHARED.name})")
    return _SHARED
