"""Parts of a scene written to files, as `geosr upscale` writes them."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from geosr.api import upscale
from geosr.cluster import POOL
from geosr.errors import GeosrError, InputError
from geosr.io.metadata import placed
from geosr.viewer.desk import BusyError
from geosr.viewer.ground import RESULT, FileGround
from geosr.window import Window

_MOST_CORNERS = 1000


class Exports:
    """Files of parts of a scene, written one at a time into a folder."""

    def __init__(self, ground: FileGround, folder: Path) -> None:
        self._ground, self._folder = ground, folder
        self._pool = ThreadPoolExecutor(1, POOL)
        self._lock = threading.Lock()
        self.state: dict[str, Any] = {"state": "none"}
        """What is known of the last one, for the page."""

    @property
    def running(self) -> bool:
        """True while one is written."""
        return bool(self.state["state"] == "running")

    def begin(self, model: Any, corners: Sequence[Sequence[float]]) -> dict[str, Any]:
        """Write what lies within two or more corners, (x, y) in pixels of the result; two are those of a rectangle.

        Raises `InputError` for what is no such part, `BusyError` while another is written.
        """
        if model not in self._ground.models or model == RESULT:
            raise InputError("only what a model makes can be exported; choose one")
        points = [(float(x), float(y)) for x, y in corners]
        if not 2 <= len(points) <= _MOST_CORNERS:
            raise InputError(f"expected 2 to {_MOST_CORNERS} corners, found {len(points)}")
        with self._lock:
            if self.running:
                raise BusyError("another part is being written; wait for it")
            path = self._free_name()
            part = self._rectangle(points) if len(points) == 2 else self._polygon(points, path.with_suffix(".geojson"))
            self.state = {"state": "running", "path": path.name, "done": 0, "total": 0}
        options = {"model": model, "scale": self._ground.scale, **part}
        self._pool.submit(self._write, path, options)
        return self.state

    def close(self) -> None:
        """Begin no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _write(self, path: Path, options: dict[str, Any]) -> None:
        def progress(done: int, total: int, pixels: int) -> None:
            """Tells how far it is."""
            self.state = {**self.state, "done": done, "total": total}

        try:
            report = upscale(self._ground.src, path, progress=progress, **options)
        except GeosrError as error:
            self.state = {"state": "failed", "path": path.name, "error": str(error)}
            return
        told = {"bytes": report["bytes"], "command": self._command(path, options)}
        self.state = {"state": "done", "path": path.name, **told}

    def _command(self, path: Path, options: dict[str, Any]) -> str:
        """The command that does the same."""
        words = ["geosr", "upscale", self._ground.src, path.name]
        for name, value in options.items():
            text = ",".join(f"{each:.10g}" for each in value) if isinstance(value, tuple) else str(value)
            words.append(f"--{name}={text}")
        return shlex.join(words)

    def _free_name(self) -> Path:
        stem, number = Path(self._ground.file.name).stem, 1
        while (path := self._folder / f"{stem}_x{self._ground.scale}_part{number}.tif").exists():
            number += 1
        return path

    def _rectangle(self, points: Sequence[tuple[float, float]]) -> dict[str, Any]:
        """`bounds` of the scene's whole pixels that hold a rectangle."""
        (x0, y0), (x1, y1) = points
        times = self._ground.scale
        row, col = int(min(y0, y1) // times), int(min(x0, x1) // times)
        stop_row, stop_col = (int(-(-max(each) // times)) for each in ((y0, y1), (x0, x1)))
        own = Window(row, col, stop_row - row, stop_col - col).clip(Window(0, 0, *self._ground.file.shape))
        if not own.size:
            raise InputError("the rectangle lies outside of the scene")
        transform = self._ground.file.transform
        if transform.b or transform.d:
            raise InputError("the scene's grid is turned against its CRS, where a rectangle isn't one; draw a polygon")
        corners = [placed(transform, x, y) for x, y in ((own.col, own.row), (own.stop[1], own.stop[0]))]
        (left, right), (bottom, top) = (sorted(each) for each in zip(*corners, strict=True))
        return {"bounds": (left, bottom, right, top)}

    def _polygon(self, points: Sequence[tuple[float, float]], path: Path) -> dict[str, Any]:
        """`aoi` of a GeoJSON file in the scene's CRS, which lies beside the result."""
        scene, times = self._ground.file, self._ground.scale
        if scene.crs is None or path.exists():
            raise InputError(f"{path} exists" if path.exists() else "the scene has no CRS; draw a rectangle")
        ring = [placed(scene.transform, x / times, y / times) for x, y in points]
        geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        named = {"type": "name", "properties": {"name": scene.crs.to_string()}}
        document = {"type": "FeatureCollection", "crs": named, "features": [
            {"type": "Feature", "properties": {}, "geometry": geometry}
        ]}  # fmt: skip
        path.write_text(json.dumps(document))
        return {"aoi": path.name if path.parent == Path.cwd() else str(path)}
