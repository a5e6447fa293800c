"""The viewer in a notebook: a widget whose page asks by messages, so that no port is opened."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anywidget

from geosr.cluster import POOL
from geosr.viewer.desk import LeftError
from geosr.viewer.ground import Ground
from geosr.viewer.pages import Pages, sources
from geosr.viewer.scene import Viewed

_AT_ONCE = 8
"""Messages that are answered at a time; their pixels are made a few at a time by the desk."""


def _script() -> str:
    """The module of the page: the script that `geosr serve` has, with its markup and style, and another way to ask."""
    markup = sources("page.html").partition("<body>")[2].partition("<script")[0]
    texts = f"const BODY = {json.dumps(markup)}, STYLE = {json.dumps(sources('viewer.css'))};"
    return "\n".join((sources("swipe.js", "tiles.js", "viewer.js"), texts, sources("widget.js")))


class Viewer(anywidget.AnyWidget):
    """A scene under view in a notebook. `close()` ends its work."""

    _esm = _script()

    def __init__(self, ground: Ground, height: int) -> None:
        super().__init__(layout={"height": f"{height}px"})
        self._viewed, self._waiting = Viewed(ground), set[str]()
        self._pages = Pages(self._viewed)
        self._pool = ThreadPoolExecutor(_AT_ONCE, POOL)
        self.on_msg(self._hear)
        self._viewed.warm()

    def close(self) -> None:
        """Begin no more work, and leave the notebook."""
        self._viewed.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _hear(self, _: Any, content: Any, buffers: Any) -> None:
        """A message of the page: it asks for something, or doesn't want any more what it has asked for."""
        number = str(content.get("id", ""))
        if content.get("left"):
            self._waiting.discard(number)
        else:
            self._waiting.add(number)
            self._pool.submit(self._answer, number, str(content.get("path", "")))

    def _answer(self, number: str, path: str) -> None:
        try:
            answer = self._pages.answer(path, lambda: number not in self._waiting)
        except LeftError:
            return
        self._waiting.discard(number)
        self.send({"id": number, "status": int(answer.status), "kind": answer.kind}, [answer.body])
