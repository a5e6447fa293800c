from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geosr.models import classical
from geosr.models.classical import REACH, upsample, upsample_into
from geosr.models.filters import mirror

KERNELS = tuple(REACH)


def scene(height: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3000 * torch.rand(1, 1, height, width, generator=generator, dtype=dtype)


def direct(x: np.ndarray, scale: int, kernel: str) -> np.ndarray:
    """The textbook sum over neighbours, one axis after the other, in float64."""
    functions = {
        "nearest": lambda d: (d <= 0.5) * 1.0,
        "bilinear": lambda d: np.maximum(0, 1 - d),
        "bicubic": lambda d: np.where(
            d < 1, 1.5 * d**3 - 2.5 * d**2 + 1, np.where(d < 2, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2, 0)
        ),
        "lanczos": lambda d: np.where(d < 3, np.sinc(d) * np.sinc(d / 3), 0),
    }
    for axis in (0, 1):
        side = x.shape[axis]
        where = (np.arange(side * scale) + 0.5) / scale - 0.5
        near = np.arange(-8, side + 8)
        weights = functions[kernel](np.abs(where[:, None] - near[None]))
        weights /= weights.sum(1, keepdims=True)
        folded = np.zeros((side * scale, side))
        mirrored = np.pad(np.arange(side), 8, mode="symmetric")
        for column, source in enumerate(mirrored):
            folded[:, source] += weights[:, column]
        x = np.moveaxis(np.tensordot(folded, x, (1, axis)), 0, axis)
    return x


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("scale", range(1, 9))
def test_interpolation_is_the_textbook_sum_over_neighbours(kernel: str, scale: int) -> None:
    x = scene(9, 12, dtype=torch.float64)
    expected = direct(x[0, 0].numpy(), scale, kernel)
    np.testing.assert_allclose(upsample(x, scale, kernel)[0, 0].numpy(), expected, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(upsample(x.float(), scale, kernel)[0, 0].numpy(), expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize(("kernel", "peer"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC"), ("lanczos", "LANCZOS")])
def test_interpolation_agrees_with_pillow_away_from_the_edge(kernel: str, peer: str) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is a peer to compare with, not a dependency")
    x = scene(20, 24)
    expected = np.asarray(image.fromarray(x[0, 0].numpy()).resize((96, 80), image.Resampling[peer]))
    np.testing.assert_allclose(upsample(x, 4, kernel)[0, 0, 12:-12, 12:-12], expected[12:-12, 12:-12], atol=2e-3)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("value", [0.1, -9999.0, 1e-38, 3.3333333e30, 65535.0])
def test_a_constant_is_kept_to_the_last_bit(kernel: str, value: float) -> None:
    for dtype in (torch.float32, torch.float64):
        x = torch.full((1, 1, 5, 7), value, dtype=dtype)
        for scale in (2, 3, 4, 5, 7):
            assert torch.equal(upsample(x, scale, kernel), torch.full((1, 1, 5 * scale, 7 * scale), value, dtype=dtype))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_block_gives_the_same_bits_as_the_whole(data: st.DataObject) -> None:
    kernel, scale = data.draw(st.sampled_from(KERNELS)), data.draw(st.integers(2, 8))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    x = scene(90, 101, seed=1, dtype=dtype)
    whole = upsample(x, scale, kernel)
    top, left = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 60))
    bottom, right = data.draw(st.integers(top + 8, 90)), data.draw(st.integers(left + 8, 101))
    halo = REACH[kernel]
    part = upsample(x[:, :, top:bottom, left:right].contiguous(), scale, kernel)
    inner = (slice(halo * scale, (bottom - top - halo) * scale), slice(halo * scale, (right - left - halo) * scale))
    there = whole[0, 0, top * scale : bottom * scale, left * scale : right * scale]
    assert torch.equal(part[0, 0][inner], there[inner])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_gives_the_bits_of_numpy(kernel: str, dtype: torch.dtype) -> None:
    """On a processor tensors are taken as arrays; a GPU runs the same lines on tensors."""
    image = scene(37, 41, seed=2, dtype=dtype)[0, 0]
    for scale in (2, 3, 5, 8):
        expected = np.empty((37 * scale, 41 * scale), image.numpy().dtype)
        upsample_into(expected, image.numpy(), scale, kernel)
        padded, reach = mirror(image, REACH[kernel]), REACH[kernel]
        across, out = torch.empty(37 + 2 * reach, 41 * scale, dtype=dtype), torch.empty(expected.shape, dtype=dtype)
        classical._interpolate(padded.T, across.T, scale, kernel)
        classical._interpolate(across, out, scale, kernel)
        np.testing.assert_array_equal(out.numpy(), expected)


def test_only_what_is_written_to_is_changed() -> None:
    """The target may be a part of something larger."""
    whole = np.zeros((30, 50), np.float32)
    upsample_into(whole[5:25, 10:40], scene(10, 15)[0, 0].numpy(), 2)
    assert (whole[5:25, 10:40] != 0).all()
    whole[5:25, 10:40] = 0
    assert not whole.any()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("strip", [2**17, 3000, 50])
def test_bands_do_not_meet_however_many_are_done_together(
    kernel: str, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bands = torch.cat([scene(11, 13, seed=s) for s in range(7)])
    apart = torch.cat([upsample(band[None], 3, kernel) for band in bands])
    monkeypatch.setattr(classical, "_STRIP", strip)
    assert torch.equal(upsample(bands, 3, kernel), apart)
    together = np.empty((7, 33, 39), np.float32)
    upsample_into(together, bands[:, 0].numpy(), 3, kernel)
    assert np.array_equal(together, apart[:, 0].numpy())


def test_tiny_images_are_mirrored_as_often_as_needed() -> None:
    for shape in ((1, 1), (1, 40), (2, 3)):
        x = scene(*shape, dtype=torch.float64)
        expected = direct(x[0, 0].numpy(), 4, "lanczos")
        np.testing.assert_allclose(upsample(x, 4, "lanczos")[0, 0].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_there_is_no_shift(kernel: str) -> None:
    """A ramp goes through: the mean of an output block is its source pixel."""
    x = torch.arange(20.0)[None, None, None].repeat(1, 1, 20, 1)
    for scale in (2, 3, 4, 5):
        back = torch.nn.functional.avg_pool2d(upsample(x, scale, kernel), scale)
        torch.testing.assert_close(back[..., 4:-4], x[..., 4:-4], rtol=0, atol=1e-5)
