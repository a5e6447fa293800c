"""What the page asks for, in words and numbers: a request's text is read here, and nowhere else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from geosr.errors import GeosrError, InputError, one_line
from geosr.io.metadata import placed
from geosr.picture import RAMP, Stretch, png, ramp, rgba
from geosr.sensors import first_bands
from geosr.viewer.desk import BusyError, LeftError
from geosr.viewer.export import Exports
from geosr.viewer.ground import RESULT, SOURCE, Bands, Named, card_of
from geosr.viewer.scene import MOST, Gone, Layer, Spot, Viewed
from geosr.window import Window

Asked = dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply to the page."""

    status: HTTPStatus
    kind: str
    """Its media type."""
    body: bytes

    @classmethod
    def telling(cls, facts: Any, status: HTTPStatus = HTTPStatus.OK) -> Answer:
        """An answer of facts."""
        return cls(status, "application/json", json.dumps(facts).encode())

    @classmethod
    def failing(cls, why: str, status: HTTPStatus) -> Answer:
        """An answer that says why there is no other."""
        return cls.telling({"error": why}, status)


class Pages:
    """Answers to the page, however it asks: of a server, or of a kernel. Without `exports` it writes nothing."""

    def __init__(self, viewed: Viewed, exports: Exports | None = None) -> None:
        self._viewed, self._exports, self._models = viewed, exports, viewed.ground.models
        self._facts: dict[str, Callable[[Asked, Gone], Any]] = {
            "scene": self._scene,
            "stretch": self._stretch,
            "spread": self._spread,
            "point": self._point,
            "notes": self._notes,
            "export": self._export,
        }

    def answer(self, url: str, gone: Gone, body: bytes | None = None) -> Answer:
        """The answer to a path with a query; with a body it asks for an export. Raises `LeftError` alone."""
        path, _, query = url.partition("?")
        try:
            if body is not None:
                return self._begin_export(path, body)
            asked = {name: values[0] for name, values in parse_qs(query, max_num_fields=16).items()}
            kind, _, rest = path.partition("/")
            if kind in ("tile", "sigma"):
                return Answer(HTTPStatus.OK, "image/png", self._tiles(kind == "sigma", rest, asked, gone))
            if (tell := self._facts.get(path)) is not None:
                return Answer.telling(tell(asked, gone))
            return Answer.failing("there is no such page", HTTPStatus.NOT_FOUND)
        except LeftError:
            raise
        except BusyError as error:
            return Answer.failing(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        except (InputError, ValueError, KeyError, TypeError) as error:
            told = str(error) if isinstance(error, GeosrError) else "the request is none that the page makes"
            return Answer.failing(told, HTTPStatus.BAD_REQUEST)
        except Exception as error:  # the page goes on, and says so
            told = str(error) if isinstance(error, GeosrError) else one_line(error)
            return Answer.failing(told, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _tiles(self, spread: bool, path: str, asked: Asked, gone: Gone) -> bytes:
        """A PNG of tiles, for "MODEL/LEVEL/ROW/COL/ROWS/COLS", all of them numbers, their bands and stretch."""
        model, *spot = (_whole(each) for each in path.split("/"))
        layer, there = Layer(self._model(model), self._bands(asked), spread), Spot(*spot)
        if there.level > self._viewed.levels:
            raise InputError("there is no such level")
        count = 1 if spread else len(layer.bands)
        stretch = Stretch(_numbers(asked["low"], count), _numbers(asked["high"], count))
        pixels = self._viewed.tiles(layer, there, gone)
        if spread:
            return png(ramp(pixels.stored.mean(0), stretch))
        return png(rgba(pixels, self._viewed.scene.radiometry.bands(layer.bands), stretch))

    def _scene(self, asked: Asked, gone: Gone) -> dict[str, Any]:
        viewed, scene, ground = self._viewed, self._viewed.scene, self._viewed.ground
        shown = first_bands(scene.sensor.bands)
        stretch = viewed.stretch(shown, gone)
        return {
            "title": ground.title,
            "crs": scene.crs[:80],
            "height": viewed.whole.height,
            "width": viewed.whole.width,
            "scale": viewed.scale,
            "side": viewed.side,
            "most": MOST,
            "levels": viewed.levels,
            "bands": list(scene.names),
            "gains": [abs(scale) for scale in scene.scales],
            "shown": list(shown),
            "low": list(stretch.low),
            "high": list(stretch.high),
            "models": [self._told(model) for model in self._models],
            "model": self._models.index(ground.model),
            "source": self._models.index(SOURCE),
            "start": list(viewed.start(gone)),
            "ramp": RAMP,
            "exports": self._exports is not None,
            "warnings": list(scene.warnings),
        }

    def _told(self, model: Named) -> dict[str, Any]:
        """A model: its name as results carry it, with a mark where it is generative."""
        card = card_of(model)
        return {
            "title": RESULT if card is None else card.title,
            "finished": card is None,
            "spread": self._viewed.ground.has_spread(model),
        }

    def _stretch(self, asked: Asked, gone: Gone) -> dict[str, Any]:
        there = Window(*map(_whole, asked["window"].split(","))) if "window" in asked else None
        stretch = self._viewed.stretch(self._bands(asked), gone, there)
        return {"low": list(stretch.low), "high": list(stretch.high)}

    def _spread(self, asked: Asked, gone: Gone) -> dict[str, Any]:
        """The bright end of tiles that show an uncertainty."""
        layer = Layer(self._model(_whole(asked["model"])), self._bands(asked), spread=True)
        return {"high": self._viewed.spread(layer, Spot(*map(_whole, asked["tiles"].split("/"))), gone)}

    def _point(self, asked: Asked, gone: Gone) -> dict[str, Any]:
        """Place, stored numbers and values of a pixel, on both sides and in the scene, and the right one's spread."""
        viewed, scene, bands = self._viewed, self._viewed.scene, self._bands(asked)
        row, col = _whole(asked["row"]), _whole(asked["col"])
        left, right = (self._model(_whole(asked[side])) for side in ("left", "right"))
        layers = {"scene": Layer(SOURCE, bands), "left": Layer(left, bands), "right": Layer(right, bands)}
        numbers = {name: viewed.point(layer, row, col, gone) for name, layer in layers.items()}
        spread = viewed.point(Layer(right, bands, spread=True), row, col, gone) if "spread" in asked else None
        x, y = placed(scene.transform, (col + 0.5) / viewed.scale, (row + 0.5) / viewed.scale)
        return {
            "row": row,
            "col": col,
            "x": x,
            "y": y,
            "bands": [scene.names[band] for band in bands],
            "stored": {side: _plain(each) for side, each in numbers.items()},
            "values": {side: _plain(self._values(each, bands)) for side, each in numbers.items()},
            "spread": _plain(spread),
        }

    def _values(self, stored: list[float | None] | None, bands: Bands) -> list[float | None] | None:
        scene = self._viewed.scene
        rows = zip(stored or (), bands, strict=stored is not None)
        values = [None if each is None else each * scene.scales[band] + scene.offsets[band] for each, band in rows]
        return values if stored is not None else None

    def _notes(self, asked: Asked, gone: Gone) -> dict[str, Any]:
        """Lines on what a run found and assumed."""
        layer = Layer(self._model(_whole(asked["model"])), self._bands(asked), "spread" in asked)
        notes = () if layer.model == RESULT else self._viewed.making(layer, gone).notes
        return {"notes": [*self._viewed.scene.warnings, *notes]}

    def _export(self, asked: Asked, gone: Gone) -> dict[str, Any]:
        return self._exports.state if self._exports else {"state": "none"}

    def _begin_export(self, path: str, body: bytes) -> Answer:
        """The state of a part that is to be written. Raises as `Exports.begin`."""
        if path != "export" or self._exports is None:
            raise InputError("expected an export, where parts can be exported")
        wanted = json.loads(body)
        state = self._exports.begin(self._model(_whole(str(wanted["model"]))), wanted["corners"])
        return Answer.telling(state, HTTPStatus.ACCEPTED)

    def _model(self, place: int) -> Named:
        if place >= len(self._models):
            raise InputError("there is no such model")
        return self._models[place]

    def _bands(self, asked: Asked) -> Bands:
        """One band or three."""
        bands = tuple(map(_whole, asked["bands"].split(",")))
        if len(bands) not in (1, 3) or max(bands) >= len(self._viewed.scene.names):
            raise InputError("expected one band of the scene, or three")
        return bands


def sources(*names: str) -> str:
    """The text of files of the page, one after the other."""
    return "\n".join(files("geosr.viewer").joinpath(name).read_text(encoding="utf-8") for name in names)


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
