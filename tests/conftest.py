"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("geosr", deadline=None)  # a busy machine is no failure
settings.load_profile("geosr")

os.environ["GEOSR_MODELS"] = str(Path(__file__).parent / "nowhere")  # what its owner fetched is not for tests

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real imagery; tests that need it skip where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip(f"no real imagery beside the repository ({_SHARED.name})")
    return _SHARED
