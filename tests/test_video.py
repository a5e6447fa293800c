"""Clips: the same frames at the same times, each made finer with those beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import rasterio
from affine import Affine

import geosr
from geosr.archive import upscale_many
from geosr.errors import DamageError, InputError
from geosr.models.frames import FramesNetwork
from geosr.registration.values import Registration
from geosr.video import run as clips
from geosr.video import sink
from geosr.video.clip import Shot, open_clip
from geosr.video.planes import Planes
from geosr.video.run import prepare_clip, windows
from tests.clips import STEADY, UNIT, VARYING, frames_of, mux_sound, packets_of, planes_at, times_of, write_clip
from tests.dates import SHIFTS, Ground, decibels, written
from tests.test_cli import geosr as command

ALONE: dict[str, Any] = {"model": "bicubic", "window": 1, "workers": 2}
"""What is quick, where pixels don't matter."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda *arguments: command(capsys, monkeypatch, *arguments)


@pytest.fixture
def segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of two frames."""
    monkeypatch.setattr(clips, "_SEGMENT", 2)


# Times and streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
@pytest.mark.parametrize("lasts", [STEADY, VARYING], ids=["steady", "varying"])
def test_frames_have_the_times_and_the_time_base_that_they_had(
    tmp_path: Path, name: str, lasts: tuple[int, ...]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", lasts=lasts, sound=True)
    report = geosr.upscale(clip, tmp_path / name, scale=2, **ALONE)
    assert times_of(Path(report["path"])) == times_of(clip)
    with av.open(report["path"]) as made, av.open(str(clip)) as given:
        assert made.streams.video[0].time_base == given.streams.video[0].time_base == UNIT
        assert made.streams.video[0].frames == given.streams.video[0].frames
        assert made.metadata["title"] == "a clip"
        assert made.metadata["GEOSR_MODEL"] == "bicubic"


def test_a_last_frame_lasts_as_long_as_it_did(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", lasts=VARYING)
    made = Path(geosr.upscale(clip, tmp_path / "out.mp4", scale=2, **ALONE)["path"])
    with av.open(str(made)) as one, av.open(str(clip)) as other:
        assert one.streams.video[0].duration == other.streams.video[0].duration


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_sound_is_what_it_was_to_the_byte(tmp_path: Path, name: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", sound=True)
    made = Path(geosr.upscale(clip, tmp_path / name, scale=2, **ALONE)["path"])
    ours, theirs = packets_of(made, "audio"), packets_of(clip, "audio")
    assert [each[1] for each in ours] == [each[1] for each in theirs]
    rounded = Fraction(1, 1000) if name == "out.mkv" else 0
    assert max(abs(one[0] - other[0]) for one, other in zip(ours, theirs, strict=True)) <= rounded


def test_matroska_rounds_times_to_milliseconds_which_is_said(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", lasts=(500,) * 6)
    made = prepare_clip(clip, tmp_path / "out.mkv", scale=2, **ALONE)
    assert any("milliseconds" in line for line in made.warnings)
    made.execute()
    wanted = [Fraction(round(1000 * time), 1000) for time in times_of(clip)]
    assert times_of(tmp_path / "out.mkv") == wanted


@pytest.mark.lowest
def test_klv_stays_where_the_container_holds_it_and_is_told_of_where_not(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.ts", klv=True)
    made = prepare_clip(clip, tmp_path / "out.ts", scale=2, **ALONE)
    assert not made.warnings
    made.execute()
    assert packets_of(tmp_path / "out.ts", "data") == packets_of(clip, "data")
    assert times_of(tmp_path / "out.ts") == times_of(clip)
    warnings = prepare_clip(clip, tmp_path / "out.mp4", scale=2, **ALONE).warnings
    assert [line for line in warnings if "(data, klv) can't be kept: mp4 doesn't hold it" in line]


@pytest.mark.lowest
def test_subtitles_attachments_and_chapters_stay_where_the_container_holds_them(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 3, subtitle="a field", chapter="one")
    made = prepare_clip(clip, tmp_path / "out.mkv", scale=2, **ALONE)
    assert not [line for line in made.warnings if "kept" in line]
    made.execute()
    assert packets_of(tmp_path / "out.mkv", "subtitle") == [(Fraction(0), b"a field")]
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [(each["start"] * each["time_base"], each["metadata"]) for each in container.chapters()] == [
            (0, {"title": "one"})
        ]
        kept = [each for each in container.streams if each.type == "attachment"]
        assert [(each.metadata["filename"], bytes(each.data)) for each in kept] == [("note.txt", b"note")]
    lines = prepare_clip(clip, tmp_path / "out.ts", scale=2, **ALONE).warnings
    assert [line.partition(":")[0] for line in lines] == [
        "stream 1 (subtitle, srt) can't be kept",
        "stream 2 (attachment, note.txt) can't be kept",
        "titles and chapters can't be kept",
    ]


@pytest.mark.lowest
def test_what_players_are_told_of_colours_pixels_and_turns_stays(tmp_path: Path) -> None:
    told = {"color_range": 2, "colorspace": 1, "color_primaries": 1, "color_trc": 1, "rotation": 90}
    clip = write_clip(tmp_path / "clip.mp4", sample_aspect_ratio=Fraction(4, 3), **told)
    geosr.upscale(clip, tmp_path / "out.mp4", scale=2, **ALONE)
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        found = [context.color_range, context.colorspace, context.color_primaries, context.color_trc]
        assert found == [2, 1, 1, 1]
        assert context.sample_aspect_ratio == Fraction(4, 3)
        assert next(container.decode(video=0)).rotation == 90


# Pixels -----------------------------------------------------------------------------------------------------------

FORMATS = (
    "gray", "gray10le", "gray16le", "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p12le", "yuv420p16le",
    "gbrp", "gbrp10le", "gbrp16le",
)  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(36, 52), (35, 51)], ids=["even", "odd"])
def test_any_depth_and_colour_has_the_pixels_of_its_raster(tmp_path: Path, format: str, shape: tuple[int, int]) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 2, format, shape=shape)
    geosr.upscale(clip, tmp_path / "out.mkv", scale=2, **ALONE)
    layout = Planes.of(format, *shape[::-1])
    fine = layout.fine(2)
    assert Planes.of(_format(tmp_path / "out.mkv"), fine.width, fine.height) == fine
    for time, planes in enumerate(frames_of(tmp_path / "out.mkv")):
        given = planes_at(layout, time)
        assert all(plane.max() <= layout.most for plane in planes)
        for place in layout.measured:
            with rasterio.open(written(tmp_path / "plane.tif", given[place])) as src:
                assert src.dtypes[0] == "uint16"
            geosr.upscale(tmp_path / "plane.tif", tmp_path / "fine.tif", model="bicubic", scale=2, overwrite=True)
            with rasterio.open(tmp_path / "fine.tif") as src:
                assert np.array_equal(np.minimum(src.read(1), layout.most), planes[place])
        for before, after in zip(given[len(layout.measured) :], planes[len(layout.measured) :], strict=True):
            assert np.abs(after.mean() - before.mean()) < 0.01 * layout.most


@pytest.mark.parametrize("step", [(2, 2), (1, 2), (1, 1)], ids=["420", "422", "444"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("left", [True, False])
def test_colour_stays_on_the_luma_that_it_belongs_to(step: tuple[int, int], scale: int, left: bool) -> None:
    layout = Planes("yuv", 48, 32, 8, (0,), step, left)
    chroma = np.mgrid[: 32 // step[0], : 48 // step[1]]
    middle = 0.5 * step[1] if not left else 0.5
    across = 20 + 4.0 * (step[1] * chroma[1] + middle)  # by where its luma lies, from the frame's edge
    sharp = np.zeros((1, 32 * scale, 48 * scale), "uint8")
    planes = np.zeros((32, 48), "uint8"), across.astype("uint8"), chroma[0].astype("uint8")
    _, finer, down = layout.coloured(sharp, planes, scale)
    cols = np.arange(finer.shape[1])
    wanted = 20 + 4.0 * ((step[1] * cols + 0.5) / scale)  # chroma of the result lies at the left
    inner = slice(3 * scale, -3 * scale)
    assert np.abs(finer[:, inner] - wanted[inner]).max() <= 1
    assert finer.shape == down.shape == (32 * scale // step[0], 48 * scale // step[1])


def test_grey_stays_grey_and_a_constant_clip_constant(tmp_path: Path) -> None:
    layout = Planes.of("yuv420p", 52, 36)
    frames = [tuple(np.full_like(plane, 93 if place == 0 else 128) for place, plane in enumerate(planes_at(layout, 0)))]
    clip = write_clip(tmp_path / "clip.mkv", 3, frames=frames * 3)
    geosr.upscale(clip, tmp_path / "out.mkv", scale=2)
    for planes in frames_of(tmp_path / "out.mkv"):
        assert [np.unique(plane).tolist() for plane in planes] == [[93], [128], [128]]


def test_formats_in_one_piece_become_planes_of_the_same_numbers(tmp_path: Path) -> None:
    layout = Planes.of("rgb24", 52, 36)
    assert layout == Planes.of("gbrp", 52, 36)
    frame = layout.write(planes_at(layout, 1)).reformat(format="rgb24")
    assert all(np.array_equal(*pair) for pair in zip(layout.read(frame), planes_at(layout, 1), strict=True))
    with pytest.raises(InputError, match=r"^frames in yuva420p can't be upscaled; convert them"):
        Planes.of("yuva420p", 52, 36)
    with pytest.raises(InputError, match=r"^frames in pal8 can't be upscaled"):
        Planes.of("pal8", 52, 36)


@pytest.mark.lowest
def test_h264_and_hevc_are_near_lossless(tmp_path: Path) -> None:
    for format, most in (("yuv420p", 255), ("yuv420p10le", 1023), ("gbrp", 255)):
        clip = write_clip(tmp_path / "clip.mkv", 4, format)
        for name in ("out.mkv", "out.mp4"):
            geosr.upscale(clip, tmp_path / name, scale=2, overwrite=True, **ALONE)
        assert _format(tmp_path / "out.mp4") == format
        pairs = zip(frames_of(tmp_path / "out.mkv"), frames_of(tmp_path / "out.mp4"), strict=True)
        error = np.mean([np.mean((one[0].astype(float) - two[0]) ** 2) for one, two in pairs])
        assert 10 * np.log10(most**2 / error) > 46


# Neighbours -------------------------------------------------------------------------------------------------------


def _ground_frames(count: int = 5, shape: tuple[int, int] = (64, 80)) -> list[tuple[Any, ...]]:
    ground = Ground.of(3)
    dates = [ground.date(shape, SHIFTS[index], seed=index) for index in range(count)]
    return [(np.clip(np.rint(date / 4), 0, 1023).astype("uint16"),) for date in dates]


def test_a_frame_has_the_pixels_of_its_dates_fused(tmp_path: Path) -> None:
    frames = _ground_frames(3)
    clip = write_clip(tmp_path / "clip.mkv", 3, "gray10le", shape=(64, 80), frames=frames)
    known: dict[str, Any] = {"mtf": 0.3, "snr": 90, "scale": 2, "model": "ibp"}
    geosr.upscale(clip, tmp_path / "out.mkv", window=3, **known)
    dates = [written(tmp_path / f"{place}.tif", frame[0]) for place, frame in enumerate(frames)]
    for place, planes in enumerate(frames_of(tmp_path / "out.mkv")):
        near = dates[max(0, place - 1) : place + 2]
        geosr.upscale(near, tmp_path / "out.tif", fuse=True, reference=dates[place], overwrite=True, **known)
        with rasterio.open(tmp_path / "out.tif") as src:
            fused = src.read(1).astype(int)
        apart = np.abs(fused - planes[0])
        assert apart.max() <= (
            1 if place == 0 else 5
        )  # one noise for all, and those before are told the other way round
        assert apart.mean() < (0.001 if place == 0 else 1)


def test_neighbours_make_a_frame_better_than_alone(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 5, "gray10le", shape=(64, 80), frames=_ground_frames())
    truth = Ground.of(3).truth((64, 80)) / 4
    found = []
    for window in (1, 5):
        geosr.upscale(clip, tmp_path / "out.mkv", scale=2, mtf=0.3, snr=90, window=window, overwrite=True)
        found.append(frames_of(tmp_path / "out.mkv")[0][0])
    alone, moving = (decibels(image, truth) for image in found)
    assert moving > alone + 0.5


def test_a_cut_leaves_frames_as_they_are_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    other = (np.rint(rng.uniform(100, 900, (64, 80))).astype("uint16"),)
    frames = [*_ground_frames(2), other, other]
    clip = write_clip(tmp_path / "clip.mkv", 4, "gray10le", shape=(64, 80), frames=frames)
    for name, window in (("alone.mkv", 1), ("moving.mkv", 3)):
        geosr.upscale(clip, tmp_path / name, scale=2, mtf=0.3, snr=90, window=window)
    alone, moving = frames_of(tmp_path / "alone.mkv"), frames_of(tmp_path / "moving.mkv")
    assert [np.array_equal(one[0], two[0]) for one, two in zip(alone, moving, strict=True)] == [
        False, False, True, True,
    ]  # fmt: skip


def test_a_fast_pan_is_followed(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 2, "gray", shape=(96, 128))
    moving = prepare_clip(clip, tmp_path / "out.mkv", scale=2).moving
    image = np.random.default_rng(1).uniform(0, 200, (1, 180, 240))
    one, other = image[:, 40:136, 50:178], image[:, 12:108, 90:218]
    found = moving.place(one, other)
    assert not found.unfit
    assert (found.down, found.right) == pytest.approx((28, -40), abs=0.02)


def test_a_named_model_makes_a_clip_and_by_default_that_for_dates_does(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 2, shape=(48, 64))
    used = [prepare_clip(clip, tmp_path / "out.mkv", scale=2, model=model).moving for model in (None, "fast")]
    assert [each.network.card.name for each in used] == ["multiframe", "fast"]


def test_where_a_frame_lies_is_the_same_told_from_either_side() -> None:
    at = Registration(1.3, -20.7, 0.01, (1e-3, -2e-3, 4e-4, 0.0), (1.2, 0.9), (5.0, -3.0))
    row, col = 30.0, 41.0
    down, right = at.shift_at(row, col)
    back = at.inverse.shift_at(row + down, col + right)
    assert (row + down + back[0], col + right + back[1]) == pytest.approx((row, col))
    seen = [gain * 100 + offset for gain, offset in zip(at.gains, at.offsets, strict=True)]
    told = zip(at.inverse.gains, at.inverse.offsets, seen, strict=True)
    assert [gain * number + offset for gain, offset, number in told] == pytest.approx([100, 100])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("half", [0, 1, 3])
def test_each_frame_is_shown_once_with_those_around_it(count: int, half: int) -> None:
    shots = [Shot(index, index, 1, ()) for index in range(count)]
    found = [(shot.index, [each.index for each in beside]) for shot, beside in windows(iter(shots), half)]
    wanted = [(at, [i for i in range(max(0, at - half), min(count, at + half + 1)) if i != at]) for at in range(count)]
    assert found == wanted


def test_blur_and_noise_are_told_by_fixed_windows_of_a_few_frames(tmp_path: Path) -> None:
    rng, slope = np.random.default_rng(0), np.linspace(300, 700, 160) * np.ones((128, 1))
    frames = [(np.rint(slope + 6 * rng.standard_normal(slope.shape)).astype("uint16"),) for _ in range(8)]
    clip = write_clip(tmp_path / "clip.mkv", 8, "gray10le", shape=(128, 160), frames=frames)
    once, again = (prepare_clip(clip, tmp_path / "out.mkv", scale=2) for _ in range(2))
    assert once.moving.network.observation == again.moving.network.observation
    assert isinstance(once.moving.network, FramesNetwork)
    assert any(line.startswith("noise 6.") and "(scene)" in line for line in once.notes)


# Endurance --------------------------------------------------------------------------------------------------------


def _stopped(made: clips.ClipRun, after: int) -> None:
    def progress(done: int, total: int, pixels: int) -> None:
        assert total == 7
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        made.execute(progress)


@pytest.mark.usefixtures("segments")
@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_a_stopped_run_goes_on_behind_its_last_segment_to_the_same_bytes(tmp_path: Path, name: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 7, sound=True)
    geosr.upscale(clip, tmp_path / f"whole{name}", scale=2, model="bicubic", window=3)
    made = prepare_clip(clip, tmp_path / name, scale=2, model="bicubic", window=3)
    _stopped(made, 5)
    journal = tmp_path / f".{name}.journal"
    assert not (tmp_path / name).exists()
    with journal.open("r+b") as torn:
        torn.truncate(journal.stat().st_size - 3)  # killed while a segment was written
    counts: list[int] = []
    report = made.execute(lambda done, total, pixels: counts.append(done))
    assert counts == [3, 4, 5, 6, 7]
    assert report["tiles_from_an_earlier_run"] == 2
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole{name}").read_bytes()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.usefixtures("segments")
def test_what_is_left_of_other_settings_or_another_clip_is_not_gone_on_with(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 7)
    _stopped(prepare_clip(clip, tmp_path / "out.mp4", scale=2, **ALONE), 3)
    with pytest.raises(InputError, match=r"^an unfinished run for out\.mp4 had other settings .*scale was 2 and is 3"):
        prepare_clip(clip, tmp_path / "out.mp4", scale=3, **ALONE).execute()
    write_clip(tmp_path / "clip.mp4", 6)
    with pytest.raises(InputError, match=r"^an unfinished run for out\.mp4 was of this input before it changed"):
        prepare_clip(clip, tmp_path / "out.mp4", scale=2, **ALONE).execute()
    geosr.upscale(clip, tmp_path / "out.mp4", scale=2, overwrite=True, **ALONE)
    assert len(times_of(tmp_path / "out.mp4")) == 6


@pytest.mark.slow
def test_a_killed_process_leaves_what_the_next_one_goes_on_from(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 7)
    code = (
        "import os, geosr.video.run as run; run._SEGMENT = 2\n"
        f"made = run.prepare_clip({str(clip)!r}, {str(tmp_path / 'out.mp4')!r}, scale=2, model='bicubic', window=3)\n"
        "made.execute(lambda done, total, pixels: os.kill(os.getpid(), 9) if done == 5 else None)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    made = prepare_clip(clip, tmp_path / "out.mp4", scale=2, model="bicubic", window=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "_SEGMENT", 2)
        assert made.execute()["tiles_from_an_earlier_run"] == 4
        geosr.upscale(clip, tmp_path / "whole.mp4", scale=2, model="bicubic", window=3)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


# Bad input --------------------------------------------------------------------------------------------------------


def _refused(tmp_path: Path, run: Any, clip: Path, *arguments: str, out: str = "out.mp4") -> str:
    """The one line with which a clip is refused; nothing is left of it."""
    before = sorted(tmp_path.iterdir())
    code, output, errors = run("upscale", str(clip), "-o", str(tmp_path / out), "--scale", "2", "-q", *arguments)
    assert (code, output) == (2, "")
    assert sorted(tmp_path.iterdir()) == before
    assert errors.count("\n") == 1
    return str(errors)


def test_a_clip_that_is_cut_short_or_none_is_refused_in_one_line(tmp_path: Path, run: Any) -> None:
    whole = write_clip(tmp_path / "whole.mp4", 20).read_bytes()
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(whole[:-2000])
    assert "can't be read as a clip" in _refused(tmp_path, run, clip)
    first = write_clip(tmp_path / "first.mp4", 20, container={"movflags": "faststart"}).read_bytes()
    clip.write_bytes(first[:-2000])
    assert "cut short" in _refused(tmp_path, run, clip)
    clip.write_bytes(b"no clip")
    assert "can't be read as a clip" in _refused(tmp_path, run, clip)
    clip.unlink()
    assert "clip.mp4 doesn't exist" in _refused(tmp_path, run, clip)


def test_one_frame_is_an_image(tmp_path: Path, run: Any) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1)
    assert "clip.mp4 holds 1 frame; upscale it as an image" in _refused(tmp_path, run, clip)


def test_sound_alone_is_no_clip(tmp_path: Path, run: Any) -> None:
    with av.open(str(tmp_path / "clip.mp4"), "w") as out:
        mux_sound(out, out.add_stream("aac", rate=44100, layout="mono"), 0.2)
    assert "holds no pictures" in _refused(tmp_path, run, tmp_path / "clip.mp4")


def test_a_missing_codec_and_frames_that_none_takes_are_told_with_the_way_out(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = write_clip(tmp_path / "deep.mkv", 2, "gray16le")
    assert "takes frames in gray16le" in (line := _refused(tmp_path, run, deep))
    assert "name it out.mkv, which takes any" in line
    odd = write_clip(tmp_path / "odd.mkv", 2, shape=(35, 51))
    line = _refused(tmp_path, run, odd, "--scale", "3", "--model", "bicubic")
    assert "libx264 takes even sides, and one is 105; name it out.mkv" in line
    wide = write_clip(tmp_path / "wide.mkv", 2, shape=(8, 8200))
    assert "libx264 can't be begun with frames of 16400 x 16 for mp4" in _refused(tmp_path, run, wide)
    clip = write_clip(tmp_path / "clip.mp4", 2)
    assert "a clip becomes .mp4, .m4v, .mov, .ts, .mkv; name it out.mkv" in _refused(tmp_path, run, clip, out="out.tif")
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    assert "no codec here takes frames in yuv420p for it (libx264); name it out.mkv" in _refused(tmp_path, run, clip)


def test_without_pyav_one_line_says_what_to_install(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    assert "PyAV, which is missing; pip install 'geosr[video]'" in _refused(tmp_path, run, clip)


def test_options_of_rasters_are_refused_and_so_are_windows_that_have_no_middle(tmp_path: Path, run: Any) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    assert "--bands is of rasters; a clip takes --window, --model, " in _refused(tmp_path, run, clip, "--bands", "1")
    assert "--report is of rasters" in _refused(tmp_path, run, clip, "--report", str(tmp_path / "page.html"))
    assert "frames of a clip are worked on by threads" in _refused(tmp_path, run, clip, "--scheduler", "processes")
    for window in ("0", "4", "33"):
        assert f"--window {window}: expected an odd number" in _refused(tmp_path, run, clip, "--window", window)
    raster = written(tmp_path / "a.tif", np.ones((20, 20)))
    assert "--window is of a clip such as clip.mp4" in _refused(tmp_path, run, raster, "--window", "3", out="b.tif")
    for overwrite in (False, True):
        assert "the input itself" in str(_error(prepare_clip, clip, clip, overwrite=overwrite))
    other = write_clip(tmp_path / "other.mp4", 2)
    assert "other.mp4 exists; use --overwrite" in str(_error(prepare_clip, clip, other))


def test_models_of_what_a_clip_has_not_are_refused(tmp_path: Path, run: Any) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    for model in ("glp", "landsat-pan"):
        for window in ("1", "7"):
            told = _refused(tmp_path, run, clip, "--model", model, "--window", window)
            assert f"{model} needs a finer raster, which a clip has not" in told
    for model in ("multiframe", "shift-and-add"):
        told = _refused(tmp_path, run, clip, "--model", model, "--window", "1", "--scale", "2")
        assert f"{model} adds the frames beside each; choose another --model, or a wider --window" in told


@pytest.mark.usefixtures("segments")
def test_a_clip_that_is_damaged_further_on_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 7)
    made = prepare_clip(clip, tmp_path / "out.mp4", scale=2, **ALONE)
    shots = type(made.clip).shots

    def damaged(self: Any) -> Iterator[Shot]:
        for shot in shots(self):
            if shot.index == 5:
                raise DamageError("frame 5 can't be decoded")
            yield shot

    monkeypatch.setattr(type(made.clip), "shots", damaged)
    with pytest.raises(DamageError, match="frame 5"):
        made.execute()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_full_disk_is_told_and_what_is_done_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 4)
    made = prepare_clip(clip, tmp_path / "out.mp4", scale=2, **ALONE)

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sink, "put_together", full)
        with pytest.raises(geosr.errors.PlaceError, match="no space left"):
            made.execute()
    assert made.execute()["tiles_from_an_earlier_run"] == 4


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(tmp_path: Path, run: Any) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 5)
    code, output, _ = run("upscale", str(clip), "--scale", "2", "--model", "bicubic", "--dry-run")
    assert code == 0
    assert "104 x 72 pixels" in output
    assert "clip_x2.mp4" in output
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_frames_of_two_sizes_or_without_a_time_of_their_own_are_refused(tmp_path: Path, run: Any) -> None:
    small = write_clip(tmp_path / "small.ts", 3).read_bytes()
    large = write_clip(tmp_path / "large.ts", 3, shape=(80, 128), start=30 * STEADY[0]).read_bytes()
    clip = tmp_path / "clip.ts"
    clip.write_bytes(small + large)
    line = _refused(tmp_path, run, clip)
    assert "frame 3 has 128 x 80 pixels and those before 52 x 36; cut the clip there" in line
    clip.write_bytes(small + small)
    assert "frame 3 has the time of one before; give it times" in _refused(tmp_path, run, clip)


def test_frames_of_two_fields_are_made_whole_first_at_their_own_times(tmp_path: Path) -> None:
    layout = Planes.of("yuv420p", 52, 36)
    frames = []
    for time in range(6):  # a bright block moves on between the two fields of a frame
        one, other = (np.full((36, 52), 60, "uint8") for _ in range(2))
        one[8:28, 6 * time : 6 * time + 12], other[8:28, 6 * time + 3 : 6 * time + 15] = 200, 200
        one[1::2] = other[1::2]
        frames.append((one, *planes_at(layout, 0)[1:]))
    told = {"flags": "+ildct+ilme", "x264-params": "tff=1", "crf": "1"}
    clip = write_clip(tmp_path / "clip.mp4", 6, frames=frames, options=told, lasts=VARYING)
    made = prepare_clip(clip, tmp_path / "out.mkv", scale=2, **ALONE)
    assert any("whole ones are made of their fields" in line for line in made.warnings)
    assert [shot.time for shot in made.clip.shots()] == [int(time / UNIT) for time in times_of(clip)]

    def combs(planes: tuple[Any, ...]) -> float:
        rows = planes[0][10:26].astype(float)
        return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())

    before, after = (np.mean([combs(planes) for planes in each]) for each in (
        frames[1:-1], [shot.planes for shot in made.clip.shots()][1:-1]))  # fmt: skip
    assert after < 0.4 * before
    assert not open_clip(write_clip(tmp_path / "plain.mp4", 3)).warnings


def test_geosr_is_imported_without_pyav() -> None:
    code = "import sys, geosr.api; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# A folder of frames -----------------------------------------------------------------------------------------------


def test_a_folder_of_frames_becomes_frames_in_the_same_places(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for place, frame in enumerate(_ground_frames(4)):  # frame10 lies behind frame9
        written(tmp_path / "in" / f"frame{place + 8}.tif", frame[0], size=2.0, corner=(5e6 - 4 * place, 5e5))
    records = upscale_many(tmp_path / "in", tmp_path / "out", window=3, scale=2, mtf=0.3, snr=90)
    assert [Path(record["path"]).name for record in records] == [f"frame{place}_x2.tif" for place in (8, 9, 10, 11)]
    with rasterio.open(tmp_path / "out" / "frame10_x2.tif") as src:
        assert src.transform == Affine(1, 0, 5e5, 0, -1, 5e6 - 8)
        made = src.read(1)
    near = [tmp_path / "in" / f"frame{place}.tif" for place in (9, 10, 11)]
    geosr.upscale(near, tmp_path / "one.tif", fuse=True, reference=near[1], scale=2, mtf=0.3, snr=90)
    with rasterio.open(tmp_path / "one.tif") as src:
        assert np.array_equal(src.read(1), made)
    again = upscale_many(tmp_path / "in", tmp_path / "out", window=3, scale=2, mtf=0.3, snr=90)
    assert {record["status"] for record in again} == {"skipped"}


def test_a_frame_beside_which_none_shows_the_same_is_made_alone(tmp_path: Path) -> None:
    other = written(tmp_path / "b.tif", np.random.default_rng(0).uniform(100, 900, (64, 80)))
    frames = [written(tmp_path / "a.tif", _ground_frames(1)[0][0]), other]
    records = upscale_many(frames, tmp_path / "out", window=5, scale=2, mtf=0.3, snr=90)
    assert [record["status"] for record in records] == ["done", "done"]
    geosr.upscale(frames[0], tmp_path / "alone.tif", scale=2, mtf=0.3, snr=90)
    with rasterio.open(tmp_path / "alone.tif") as one, rasterio.open(tmp_path / "out" / "a_x2.tif") as two:
        assert np.array_equal(one.read(), two.read())


def _format(path: Path) -> str:
    with av.open(str(path)) as container:
        return str(container.streams.video[0].codec_context.pix_fmt)


def _error(function: Any, *args: Any, **options: Any) -> Exception:
    with pytest.raises(InputError) as caught:
        function(*args, **options)
    return caught.value
