from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy import ndimage

from geosr import dispatch
from geosr.errors import ModelError, PlaceError
from geosr.models import registry, runtime, threads
from geosr.models.card import KEY, Card
from geosr.models.networks import fast
from geosr.models.runtime import ModelNetwork, network_for
from geosr.models.threads import prepare_process
from geosr.models.trained import Residual
from geosr.noise import SILENT, Noise
from geosr.response import PROBE, Response
from geosr.sensors import Band

MODELS = ("nearest", "bilinear", "bicubic", "lanczos", "ibp", "fast")
SEEN = Band(Response.gaussian(0.25), Noise(1.0, 0.0175)), Band(Response.gaussian(0.4))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    dispatch._for_good.close()  # of a Dask worker that another test ran in this process
    dispatch.stay_prepared.cache_clear()
    torch.set_num_threads(1)


def terrain(height: int, width: int, dtype: str = "float32", seed: int = 0) -> NDArray[np.floating]:
    rng = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(rng.standard_normal((2, height, width)), (0, 1, 1)) * 300
    return (2000 + rough + 5 * rng.standard_normal((2, height, width))).astype(dtype)


@lru_cache
def whole(model: str, scale: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    scene = terrain(190, 230)
    return scene, network_for(model, scale, SEEN)(scene, (0, 1))


def same_bits(model: str, scale: int, window: tuple[int, int, int, int]) -> bool:
    """Whether a block gives the bits of the whole scene where it is farther than the halo from its own border."""
    scene, expected = whole(model, scale)
    network = network_for(model, scale, SEEN)
    row, col, height, width = window
    block = np.ascontiguousarray(scene[:, row : row + height, col : col + width])
    halo = network.halo
    # The whole scene's own border is not mirrored by the network, so that rim is left out as well.
    top, left = max(halo - row, halo), max(halo - col, halo)
    result = network(block, (0, 1))[:, top * scale : (height - halo) * scale, left * scale : (width - halo) * scale]
    there = expected[:, (row + top) * scale : (row + height - halo) * scale]
    there = there[:, :, (col + left) * scale : (col + width - halo) * scale]
    return result.size > 0 and np.array_equal(result, there)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "window",
    [(0, 0, 100, 100), (3, 5, 67, 150), (31, 7, 150, 71), (11, 100, 97, 113), (90, 91, 66, 69), (1, 2, 187, 203)],
)
def test_a_pixel_has_the_same_bits_whatever_its_block(model: str, window: tuple[int, int, int, int]) -> None:
    assert same_bits(model, 4, window)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_pixel_of_fast_has_the_same_bits_in_any_block(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(49, 120)), data.draw(st.integers(49, 120))
    row, col = data.draw(st.integers(0, 190 - height)), data.draw(st.integers(0, 230 - width))
    assert same_bits("fast", data.draw(st.sampled_from([2, 4])), (row, col, height, width))


@pytest.mark.parametrize("scale", [2, 4])
def test_fast_is_its_network_with_what_it_adds_to_a_flat_scene_taken_off(scale: int) -> None:
    scene = terrain(90, 84)[:1]
    network = network_for("fast", scale, SEEN)
    module = fast(scale).eval()
    path = registry.locate("fast", scale)
    assert path is not None
    module.load_state_dict(load_file(path))
    rim = network.halo * scale
    for response, noise in ((PROBE.towards_result, SILENT), (PROBE.relative(scale), Noise(81.0, 0.0))):
        with torch.inference_mode():
            told = torch.tensor([response.told]), torch.tensor([[noise.constant, noise.slope]])
            eager = module(torch.from_numpy(scene)[None], *told)[0, 0]
            flat = module(torch.zeros(1, 1, 90, 84), *told)[0, 0]
        expected = (eager - flat).numpy()[rim:-rim, rim:-rim]
        result = replace(network, observation=(Band(response, noise),))(scene, (0,))[0, rim:-rim, rim:-rim]
        detail = result - network_for("bicubic", scale, SEEN)(scene, (0,))[0, rim:-rim, rim:-rim]
        assert np.sqrt(np.mean((result - expected) ** 2)) <= 1e-4 * detail.std()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_scene_is_kept_to_the_last_bit(model: str, dtype: str) -> None:
    network = network_for(model, 4, SEEN)
    block = np.full((2, 110, 120), 1234.5678, dtype)
    result = network(block, (0, 1))
    assert result.dtype == block.dtype
    assert np.array_equal(result, np.full((2, 440, 480), 1234.5678, dtype))


@pytest.mark.parametrize("model", MODELS)
def test_gain_and_offset_pass_through(model: str) -> None:
    scene = terrain(100, 104, "float64")[:1]
    network = network_for(model, 2, (Band(PROBE, Noise(4.0, 0.006)),))
    for gain, offset in ((0.001, 0.1), (7.0, -3000.0)):
        scaled = replace(network, observation=(Band(PROBE, Noise(4.0, 0.006).moved(gain, offset)),))
        result = scaled(gain * scene + offset, (0,))
        expected = gain * network(scene, (0,)) + offset
        assert np.abs(result - expected).max() < 2e-5 * np.abs(gain * scene).max()


@pytest.mark.parametrize("model", ["bicubic", "ibp", "fast"])
def test_the_halo_is_how_far_a_pixel_is_felt(model: str) -> None:
    network = network_for(model, 4, (Band(PROBE),))
    side = 4 * network.halo + 1
    middle = side // 2
    background = np.zeros((1, side, side))
    still = network(background, (0,))
    felt = 0
    for value in (1.0, -1.0):
        background[0, middle, middle] = value
        changed = network(background, (0,)) != still
        felt = max(felt, *(int(np.abs(where // 4 - middle).max()) for where in np.nonzero(changed)[1:]))
    # In float32 the outermost ring may be too weak to be felt.
    assert network.halo - 1 <= felt <= network.halo


def test_there_is_no_shift() -> None:
    """The middle of a symmetric bump stays where it is, for every model at every scale."""
    y, x = np.mgrid[-48:49, -48:49]
    bump = (100 * np.exp(-(x**2 + y**2) / 18))[None].astype("float32")
    for model in MODELS:
        for scale in set(registry.card(model).scales) & {2, 3, 4}:
            result = network_for(model, scale, (Band(PROBE),))(bump, (0,))[0].astype("float64")
            where = (np.arange(97 * scale) + 0.5) / scale - 0.5 - 48
            for axis in (0, 1):
                assert abs((result.sum(1 - axis) * where).sum() / result.sum()) < 0.02


@pytest.mark.parametrize("side", [1, 5, 48, 49])
def test_blocks_of_any_size_are_taken(side: int) -> None:
    for model in MODELS:
        block = terrain(side, 2 * side)
        assert network_for(model, 4, SEEN)(block, (0, 1)).shape == (2, 4 * side, 8 * side)


def test_read_only_blocks_are_taken_and_left_alone() -> None:
    block = terrain(60, 60)
    before = block.copy()
    block.flags.writeable = False
    assert network_for("fast", 2, SEEN)(block, (0, 1)).flags.writeable
    assert np.array_equal(block, before)


def test_a_network_travels_small_and_gives_the_same_pixels() -> None:
    network = network_for("fast", 4, SEEN)
    packed = pickle.dumps(network)
    assert len(packed) < 2000
    block = terrain(70, 70)
    assert np.array_equal(pickle.loads(packed)(block, (0, 1)), network(block, (0, 1)))


def test_threads_agree_and_load_the_weights_once() -> None:
    runtime._load.cache_clear()
    network, block = network_for("fast", 4, SEEN), terrain(80, 80)
    results: list[NDArray[np.floating]] = []
    threads = [threading.Thread(target=lambda: results.append(network(block, (0, 1)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, results[0]) for result in results)
    assert runtime._load("cpu").cache_info().misses == 1


def test_bands_get_what_was_seen_of_them() -> None:
    network, scene = network_for("fast", 4, SEEN), terrain(80, 80)
    both = network(scene, (0, 1))
    assert np.array_equal(network(scene[1:], (1,)), both[1:])
    assert not np.array_equal(network(scene[1:], (0,)), both[1:])


def test_rounding_is_the_least_noise_that_a_network_is_told() -> None:
    scene = terrain(80, 80)
    rounded = network_for("fast", 4, SEEN, rounding=0.29)(scene, (0, 1))
    told = network_for("fast", 4, (SEEN[0], Band(SEEN[1].response, SILENT.at_least(0.29))))(scene, (0, 1))
    assert np.array_equal(rounded, told)
    assert not np.array_equal(rounded[1], network_for("fast", 4, SEEN)(scene, (0, 1))[1])


def test_bfloat16_differs_by_little() -> None:
    scene = terrain(64, 66)
    exact = network_for("fast", 4, SEEN, precision="float32")(scene, (0, 1))
    short = network_for("fast", 4, SEEN, precision="bfloat16")(scene, (0, 1))
    detail = exact - network_for("bicubic", 4, SEEN)(scene, (0, 1))
    assert 0 < np.sqrt(np.mean((short - exact) ** 2)) < 0.01 * detail.std()  # "about half a percent", as is said


def test_other_weights_than_at_the_start_are_refused() -> None:
    network = network_for("fast", 4, SEEN)
    network = replace(network, model=replace(network.model, sha256="0" * 64))
    with pytest.raises(ModelError, match="not those that this run began with"):
        network(terrain(60, 60), (0, 1))


def own(path: Path, **changes: object) -> str:
    card = Card(name="mine", summary="a test", scales=(2,), network="fast", channels=4, blocks=1)
    module = fast(2, channels=4, blocks=1)
    torch.nn.init.normal_(module.tail.weight, std=0.1)
    save_file(module.state_dict(), path, metadata={KEY: replace(card, **changes).to_json()})  # type: ignore[arg-type]
    return str(path)


def test_weights_of_ones_own_run_and_their_halo_is_their_own(tmp_path: Path) -> None:
    network = network_for(own(tmp_path / "own.safetensors"), 2, SEEN)
    assert network.halo == 2 + 2 * 1 + 6
    assert Path(str(network.model)).is_absolute()
    assert network(terrain(40, 40), (0, 1)).shape == (2, 80, 80)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"channels": 8}, "don't fit"), ({"blocks": 3}, "don't fit"), ({"network": "vast"}, "asks for")],
)
def test_weights_that_do_not_fit_their_card_are_refused(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        network_for(own(tmp_path / "own.safetensors", **changes), 2, SEEN)


def test_no_memory_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    network = network_for("fast", 4, SEEN)
    monkeypatch.setattr(Residual, "__call__", fails)
    with pytest.raises(MemoryError, match="64 x 66"):
        network(terrain(64, 66), (0, 1))


def test_device_and_precision_are_chosen_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime.choose_device("cpu") == ("cpu", "")
    with pytest.raises(PlaceError, match="cuda:99"):
        runtime.choose_device("cuda:99")
    with pytest.raises(ModelError, match="tpu"):
        runtime.choose_device("tpu")
    with pytest.raises(ModelError, match="float16"):
        network_for("fast", 4, SEEN, precision="float16")  # type: ignore[arg-type]
    monkeypatch.setattr(runtime, "processor_flags", lambda: frozenset({"avx512_bf16"}))
    assert runtime.has_bfloat16("cpu")
    assert network_for("fast", 4, SEEN).precision == "float32"  # whatever the machine has
    assert "emulates" not in network_for("fast", 4, SEEN, precision="bfloat16").notes[0]
    monkeypatch.setattr(runtime, "processor_flags", lambda: frozenset({"avx2"}))
    assert not runtime.has_bfloat16("cpu")
    assert "half a percent" in network_for("fast", 4, SEEN, precision="bfloat16").notes[0]
    assert "emulates" in network_for("fast", 4, SEEN, precision="bfloat16").notes[0]
    assert network_for("bicubic", 4, SEEN, precision="bfloat16").precision == "float32"


def test_preparing_a_process_sets_threads_for_all_of_its_threads_and_restores_them() -> None:
    torch.set_num_threads(2)
    seen: list[int] = []
    with prepare_process():
        worker = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        worker.start()
        worker.join()
        seen.append(torch.get_num_threads())
        with prepare_process():
            pass
        seen.append(torch.get_num_threads())
    assert seen == [1, 1, 1]
    assert torch.get_num_threads() == 2


class OneRun:
    """A run in a thread of its own, from `begin` to `end`."""

    def __init__(self) -> None:
        self.leave, self.entered = threading.Event(), threading.Event()
        self.after = 0
        self.thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        with prepare_process():
            self.entered.set()
            self.leave.wait(30)
        self.after = torch.get_num_threads()

    def begin(self) -> OneRun:
        self.thread.start()
        self.entered.wait(30)
        return self

    def end(self) -> int:
        """Threads that torch has where the run was called from, when it is over."""
        self.leave.set()
        self.thread.join(30)
        return self.after


def fresh_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_two_runs_in_threads_of_one_process_keep_torch_prepared_until_the_last_one_ends() -> None:
    torch.set_num_threads(3)
    first, second = OneRun().begin(), OneRun().begin()
    assert first.end() == 3
    assert fresh_thread() == 1
    assert second.end() == 3
    assert fresh_thread() == 3
    assert torch.get_num_threads() == 3


def test_two_runs_in_threads_of_one_process_keep_memory_until_the_last_one_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    libc = Mock()
    monkeypatch.setattr(threads, "_glibc", lambda: libc)
    first, second = OneRun().begin(), OneRun().begin()
    kept = libc.mallopt.call_count
    first.end()
    assert kept == libc.mallopt.call_count == 3
    assert not libc.malloc_trim.called
    second.end()
    libc.malloc_trim.assert_called_once()


def alone(code: str) -> tuple[int, str]:
    """Exit code and complaints of a process that has imported nothing before it runs the code.

    Dask leaves numbers of threads in the environment of whoever starts workers, as tests before this one do.
    """
    plain = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=plain)
    return done.returncode, done.stderr


def test_interpolation_starts_without_torch_and_scipy(tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[1] / "examples" / "scene.tif"
    code, told = alone(
        "import sys, geosr; "
        f"geosr.upscale({str(example)!r}, {str(tmp_path / 'out.tif')!r}, model='bicubic', scale=2); "
        "sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    )
    assert code == 0, told


@pytest.mark.slow
def test_torch_that_is_imported_later_is_told_how_many_threads_it_has() -> None:
    code, told = alone(
        "import os, sys\n"
        "os.environ['OMP_NUM_THREADS'] = '2'\n"
        "from geosr.models.runtime import network_for\n"
        "from geosr.models.threads import prepare_process\n"
        "from geosr.pipeline import cores\n"
        "from geosr.noise import SILENT\n"
        "from geosr.response import PROBE\n"
        "from geosr.sensors import Band\n"
        "with prepare_process():\n"
        "    assert 'torch' not in sys.modules\n"
        "    network_for('ibp', 2, (Band(PROBE),), device='cpu')\n"
        "    import torch\n"
        "    assert torch.get_num_threads() == 1\n"
        "assert torch.get_num_threads() == min(2, cores())\n"
    )
    assert code == 0, told


def test_models_without_conditioning_ask_for_no_observation() -> None:
    network = ModelNetwork(registry.find("bicubic", 4), (Band(PROBE),))
    assert network.halo == 2
    assert network.notes == ()
