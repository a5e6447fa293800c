"""Are four bands better together? One network for all four against the same, band by band, on the same imagery.

    python scripts/prepare_planes.py recipes/data.toml DATA_ROOT planes
    python benchmarks/joint_bands.py planes [--minutes 15] [--channels 48] [--blocks 8] [--scale 4]

Both are EDSRs without bias, told each band's blur and noise, trained from nothing for the same time on the Sentinel-2
files that have all four in register, and judged on the validation scenes that do: blurs that differ between bands,
with and without noise. What is printed is the gain of the joint one, dB, with its 95 % interval over scenes.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geosr.evaluation.metrics import bootstrap, psnr
from geosr.evaluation.protocol import BORDER, load_scenes
from geosr.models.classical import upsample
from geosr.models.degradation import Degradation, degrade
from geosr.models.networks.band import BandNetwork, conv
from geosr.models.networks.edsr import Block
from geosr.training.rasters import load_planes
from geosr.training.samples import CROP, MARGIN
from geosr.training.soap import Soap

BANDS = 4
MTF = (0.275, 0.28, 0.25, 0.24)
"""Of Sentinel-2's blue, green, red and near infrared, which scenes are judged at."""
GROUPS = ("bigearthnet-v2", "eurosat", "worldcereal", "antwerp", "terramind", "campine", "spyndex", "ukis")
"""Of `recipes/data.toml`: those with blue, green, red and near infrared in this order and in register."""
RATE, WARM_UP, AVERAGE = 6e-3, 200, 0.998


class Joint(BandNetwork):
    """An EDSR that sees and makes `bands` bands."""

    def __init__(self, scale: int, bands: int, channels: int, blocks: int) -> None:
        super().__init__(scale)
        self.bands = bands
        self.head = conv(2 * bands, channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.first, self.second = nn.Linear(bands, 32), nn.Linear(32, (blocks + 1) * channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)
        self.tail = conv(channels, bands * scale * scale, shrink=0.0)

    def residual(self, high: Tensor, mtf: Tensor, noise: Tensor) -> Tensor:
        """(n, bands, h * scale, w * scale) of (n, bands, h, w); `mtf` and `noise` are (n, bands)."""
        hidden = F.relu(self.first((mtf.clamp(0.05, 0.60) - 0.25) * 8.0))
        gains = 1.0 + self.second(hidden).view(len(high), len(self.blocks) + 1, -1, 1, 1)
        levels = noise[:, :, None, None].expand_as(high)
        start = self.head(torch.cat((high, levels), 1))
        features = start
        for index, block in enumerate(self.blocks):
            features = block(features, gains[:, index])
        return F.pixel_shuffle(self.tail((features + start) * gains[:, -1]), self.scale)


def each(module: BandNetwork, lr: Tensor) -> Tensor:
    """`high_pass` band by band."""
    n, bands, height, width = lr.shape
    return module.high_pass(lr.reshape(n * bands, 1, height, width)).view(n, bands, height, width)


class Source:
    """Squares of four bands at the same place, in one unit."""

    def __init__(self, path: Path, side: int, seed: int) -> None:
        files = defaultdict(list)
        for plane in load_planes(path):
            files[plane.file, plane.values.shape].append(plane)
        self.stacks = [planes for planes in files.values() if len(planes) == BANDS and planes[0].group in GROUPS]
        self.stacks = [planes for planes in self.stacks if min(planes[0].values.shape) >= side]
        sizes = np.array([float(planes[0].values.size * planes[0].weight) for planes in self.stacks])
        self.share, self.side, self.random = sizes / sizes.sum(), side, np.random.default_rng(seed)

    def draw(self) -> tuple[np.ndarray, list[float]]:
        """(bands, side, side) and the noise of each band, in units of the mean contrast of the bands."""
        while True:
            planes = self.stacks[int(self.random.choice(len(self.stacks), p=self.share))]
            row, col = (int(self.random.integers(0, length - self.side + 1)) for length in planes[0].values.shape)
            cut = np.stack([p.values[row : row + self.side, col : col + self.side] for p in planes]).astype(np.float32)
            if np.isfinite(cut).all() and (np.ptp(cut, axis=(1, 2)) > 0).all():
                break
        unit = float(np.mean([plane.contrast for plane in planes]))
        snr = float(np.exp(self.random.uniform(np.log(50), np.log(200))))
        turned = np.rot90(cut, int(self.random.integers(4)), (1, 2))
        turned = turned[:, ::-1] if self.random.random() < 0.5 else turned
        return np.ascontiguousarray(turned) / unit, [float(abs(band.mean())) / unit / snr for band in cut]


def trained(bands: int, options: argparse.Namespace) -> Joint:
    """A network for `bands` bands together: all four, or one."""
    torch.manual_seed(0)
    net = Joint(options.scale, bands, options.channels, options.blocks)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = Soap(net.parameters(), lr=RATE)
    source = Source(options.planes / "train.npz", (options.patch + 2 * MARGIN) * options.scale, 0)
    degradation, generator = Degradation(), torch.Generator().manual_seed(0)
    began, step, scale = time.perf_counter(), 0, options.scale
    while (spent := (time.perf_counter() - began) / 60 / options.minutes) < 1.0:
        drawn = [source.draw() for _ in range(options.batch)]
        hr = torch.from_numpy(np.stack([pixels for pixels, _ in drawn]))
        flat = hr.view(-1, 1, *hr.shape[2:])
        noise = torch.tensor([level for _, levels in drawn for level in levels])
        lr, mtf, told = degradation(flat, noise, torch.zeros(len(flat)), scale, generator)
        lr = lr[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        inner, rim = (MARGIN + CROP) * scale, CROP * scale
        shape = (-1, bands, *lr.shape[2:])
        made = net.residual(each(net, lr.reshape(shape)), mtf.view(-1, bands), told.view(-1, bands))
        detail = made.reshape(-1, 1, *made.shape[2:])[..., rim:-rim, rim:-rim]
        missing = flat[..., inner:-inner, inner:-inner] - upsample(lr, scale)[..., rim:-rim, rim:-rim]
        loss = torch.log(((detail - missing) ** 2).mean((1, 2, 3)) + 5e-3).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        rate = min(1.0, (step + 1) / WARM_UP) * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * spent)))
        optimiser.param_groups[0]["lr"] = RATE * rate
        optimiser.step()
        step += 1
        decay = min(AVERAGE, (1 + step) / (10 + step))
        for name, value in net.state_dict().items():
            average[name].lerp_(value, 1 - decay)
    net.load_state_dict(average)
    print(f"{bands} together: {step} steps", flush=True)
    return net.eval().requires_grad_(False)


def main() -> None:
    """Trains both and prints what one gains over the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("planes", type=Path)
    for name, default in (("scale", 4), ("channels", 48), ("blocks", 8), ("patch", 24), ("batch", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--minutes", type=float, default=15.0)
    options = parser.parse_args()
    nets = [trained(bands, options) for bands in (BANDS, 1)]
    scenes = load_scenes(options.planes / "validate.npz")
    scenes = [scene for scene in scenes if len(scene.bands) == BANDS and scene.group in GROUPS]
    for snr in (0, 100):
        gains = [judged(scene.bands, nets, options.scale, snr) for scene in scenes]
        print(f"{len(scenes)} scenes, {f'SNR {snr}' if snr else 'no noise'}: {bootstrap(gains)} dB", flush=True)


def judged(truth: np.ndarray, nets: list[Joint], scale: int, snr: int) -> float:
    """Mean gain in PSNR of the first network over the second."""
    hr = torch.from_numpy(np.ascontiguousarray(truth))[:, None]
    lr = degrade(hr, torch.tensor(MTF), scale)
    noise = lr.mean((1, 2, 3)).abs() / snr if snr else torch.zeros(BANDS)
    lr = lr + noise.view(-1, 1, 1, 1) * torch.randn(lr.shape, generator=torch.Generator().manual_seed(0))
    base, inner = upsample(lr, scale), BORDER * scale
    figures = []
    for net in nets:
        told = (torch.tensor(MTF).view(-1, net.bands), noise.view(-1, net.bands))
        detail = net.residual(each(net, lr.view(-1, net.bands, *lr.shape[2:])), *told)
        made = (base + detail.reshape(base.shape))[:, 0, inner:-inner, inner:-inner].numpy()
        cut = truth[:, : base.shape[2], : base.shape[3]][:, inner:-inner, inner:-inner]
        figures.append(np.mean([psnr(m, t, peak=float(np.ptp(b))) for m, t, b in zip(made, cut, truth, strict=True)]))
    return float(figures[0] - figures[1])


if __name__ == "__main__":
    main()
