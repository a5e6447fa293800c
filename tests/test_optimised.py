"""Nothing hangs on an assert: with `python -O` geosr does and refuses the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import geosr
from tests import scenes


def optimised(code: str) -> str:
    """What code prints in a Python that leaves asserts out."""
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def test_a_file_is_upscaled_to_the_same_bytes(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path, shape=(1, 60, 70))
    geosr.upscale(src, tmp_path / "usual.tif", scale=2, snr=100)
    optimised(f"import geosr; geosr.upscale({str(src)!r}, {str(tmp_path / 'bare.tif')!r}, scale=2, snr=100)")
    assert (tmp_path / "bare.tif").read_bytes() == (tmp_path / "usual.tif").read_bytes()


@pytest.mark.parametrize("option", ["snr=-1", "mtf=2"])
def test_a_lazy_array_refuses_what_is_out_of_range(option: str) -> None:
    told = optimised(
        "import dask.array, xarray, geosr.xarray\n"
        "from geosr.errors import InputError\n"
        "array = xarray.DataArray(dask.array.ones((64, 64), dtype='float32', chunks=32), dims=('y', 'x'))\n"
        f"try: array.geosr.upscale(scale=2, {option})\n"
        "except InputError as error: print(error)"
    )
    assert option.partition("=")[0] in told


def test_a_worker_tells_before_the_first_tile_that_it_lacks_the_model(tmp_path: Path) -> None:
    src = scenes.make_plain(tmp_path, shape=(1, 60, 70))
    told = optimised(
        "from dataclasses import replace\n"
        "import geosr\n"
        "from geosr.cluster import look\n"
        f"job = geosr.prepare({str(src)!r}, {str(tmp_path / 'out.tif')!r}, scale=2).job()\n"
        "network = job.upscaler.network\n"
        "other = replace(network, model=replace(network.model, sha256='0' * 64))\n"
        "print(look(replace(job, upscaler=replace(job.upscaler, network=other))))"
    )
    assert "can't load the model" in told
