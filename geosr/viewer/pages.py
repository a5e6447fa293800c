"""What the page asks for, in words and numbers: a request's text is read here, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from geosr.errors import InputError
from geosr.io.metadata import placed
from geosr.models import registry
from geosr.picture import Stretch, png, rgba
from geosr.sensors import first_bands
from geosr.viewer.export import Exports
from geosr.viewer.scene import RESULT, Bands, Gone, Spot, Viewed
from geosr.window import Window

Asked = dict[str, str]


class Pages:
    """Answers to the page."""

    def __init__(self, viewed: Viewed, exports: Exports) -> None:
        self._viewed, self._exports = viewed, exports
        self.facts: dict[str, Callable[[Asked, Gone], Any]] = {
            "scene": self._scene,
            "stretch": self._stretch,
            "point": self._point,
            "notes": self._notes,
            "export": self._export,
        }

    def tile(self, path: str, asked: Asked, gone: Gone) -> bytes:
        """A PNG of a tile, for "MODEL/LEVEL/ROW/COL", all of them numbers, and its bands and stretch."""
        model, level, row, col = (_whole(each) for each in path.split("/"))
        if level > self._viewed.levels:
            raise InputError("there is no such level")
        bands = self._bands(asked)
        stretch = Stretch(_numbers(asked["low"], len(bands)), _numbers(asked["high"], len(bands)))
        pixels = self._viewed.tile(self._model(model), bands, Spot(level, row, col), gone)
        return png(rgba(pixels, self._viewed.scene.radiometry.bands(bands), stretch))

    def _scene(self, asked: Asked, gone: Gone) -> dict[str, Any]:
        viewed, scene = self._viewed, self._viewed.scene
        shown = first_bands(scene.sensor.bands)
        stretch = viewed.stretch(shown, gone)
        return {
            "name": scene.name,
            "result": None if viewed.result is None else viewed.result.name,
            "crs": None if scene.crs is None else scene.crs.to_string()[:80],
            "height": viewed.whole.height,
            "width": viewed.whole.width,
            "scale": viewed.scale,
            "side": viewed.side,
            "levels": viewed.levels,
            "bands": list(scene.names),
            "shown": list(shown),
            "low": list(stretch.low),
            "high": list(stretch.high),
            "models": [{"name": name, "title": _title(name)} for name in viewed.models],
            "model": viewed.model,
            "start": list(viewed.start(gone)),
            "warnings": list(scene.warnings),
        }

    def _stretch(self, asked: Asked, gone: Gone) -> dict[str, Any]:
        there = Window(*map(_whole, asked["window"].split(","))) if "window" in asked else None
        stretch = self._viewed.stretch(self._bands(asked), gone, there)
        return {"low": list(stretch.low), "high": list(stretch.high)}

    def _point(self, asked: Asked, gone: Gone) -> dict[str, Any]:
        """Place, stored numbers and values of a pixel, on both sides and in the scene."""
        viewed, scene, bands = self._viewed, self._viewed.scene, self._bands(asked)
        row, col = _whole(asked["row"]), _whole(asked["col"])
        numbers = {"scene": viewed.point("", bands, row, col, gone)}
        for side in ("left", "right"):
            numbers[side] = viewed.point(self._model(_whole(asked[side])), bands, row, col, gone)
        x, y = placed(scene.transform, (col + 0.5) / viewed.scale, (row + 0.5) / viewed.scale)
        return {
            "row": row,
            "col": col,
            "x": x,
            "y": y,
            "bands": [scene.names[band] for band in bands],
            "stored": {side: _plain(each) for side, each in numbers.items()},
            "values": {side: _plain(self._values(each, bands)) for side, each in numbers.items()},
        }

    def _values(self, stored: list[float | None] | None, bands: Bands) -> list[float | None] | None:
        scene = self._viewed.scene
        rows = zip(stored or (), bands, strict=stored is not None)
        values = [None if each is None else each * scene.scales[band] + scene.offsets[band] for each, band in rows]
        return values if stored is not None else None

    def _notes(self, asked: Asked, gone: Gone) -> dict[str, Any]:
        """Lines on what a run found and assumed."""
        model, warnings = self._model(_whole(asked["model"])), self._viewed.scene.warnings
        run = None if model == RESULT else self._viewed.run(model, self._bands(asked), gone)
        return {"notes": [*warnings, *(run.notes if run else ())]}

    def _export(self, asked: Asked, gone: Gone) -> dict[str, Any]:
        return self._exports.state

    def export(self, wanted: Any) -> dict[str, Any]:
        """The state of a part that is to be written. Raises as `Exports.begin`."""
        return self._exports.begin(self._model(_whole(str(wanted["model"]))), wanted["corners"])

    def _model(self, place: int) -> str:
        if place >= len(self._viewed.models):
            raise InputError("there is no such model")
        return self._viewed.models[place]

    def _bands(self, asked: Asked) -> Bands:
        """One band or three."""
        bands = tuple(map(_whole, asked["bands"].split(",")))
        if len(bands) not in (1, 3) or max(bands) >= len(self._viewed.scene.bands):
            raise InputError("expected one band of the scene, or three")
        return bands


def _title(model: str) -> str:
    """The name of a model as results carry it: with a mark where it is generative."""
    return model if model == RESULT else registry.card(model).title


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InputError("expected a whole number")
    return int(text)


def _numbers(text: str, count: int) -> tuple[float, ...]:
    numbers = tuple(map(float, text.split(",")))
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError("expected a number for each band")
    return numbers


def _plain(values: list[float | None] | None) -> list[float | None] | None:
    """JSON knows no NaN."""
    return None if values is None else [each if each is None or math.isfinite(each) else None for each in values]
