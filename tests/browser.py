"""A headless Chromium, driven over its DevTools pipe: no library, no port."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

_PATIENCE = 60.0
"""Seconds after which a page that doesn't come to what is waited for is a failure."""


_BEGIN = """
import os, sys
from fcntl import F_DUPFD, fcntl
for end, at in [(fcntl(int(number), F_DUPFD, 10), at) for number, at in zip(sys.argv[1:3], (3, 4))]:
    os.dup2(end, at)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""A program that becomes the browser, which hears at 3 and speaks at 4."""


class Browser:
    """One page of a browser."""

    def __init__(self, to: int, back: BinaryIO) -> None:
        self._to, self._back = to, back
        self._count, self._rest, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        """What the browser told by itself: requests, and what went wrong in the page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """What the browser answers."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") != self._count:
                self.events.append(told)
                continue
            assert "error" not in told, told
            return told["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._back], [], [], _PATIENCE)[0], "the browser doesn't answer"
            piece = os.read(self._back.fileno(), 65536)
            assert piece, "the browser has ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def js(self, code: str) -> Any:
        """What an expression, or a promise, comes to in the page."""
        told = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, code: str) -> Any:
        """What an expression comes to as soon as that is true."""
        start = time.monotonic()
        while time.monotonic() - start < _PATIENCE:
            if found := self.js(code):
                return found
            time.sleep(0.05)
        raise AssertionError(f"not in {_PATIENCE:g} s: {code}")

    def size(self, width: int, height: int, dense: float = 1, dark: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": dense, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def key(self, key: str, **more: Any) -> None:
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **(text if kind == "keyDown" else {}), **more)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.mouse("mousePressed", *start, button="left", clickCount=1)
        for share in (0.3, 0.6, 1.0):
            at = [a + (b - a) * share for a, b in zip(start, end, strict=True)]
            self.mouse("mouseMoved", at[0], at[1], button="left", buttons=1)
        self.mouse("mouseReleased", *end, button="left", clickCount=1)

    def picture(self) -> bytes:
        """A PNG of the page."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def went_wrong(self) -> list[str]:
        """What the page complained of so far."""
        self.js("1")  # so that all that was told until now is here
        wrong = [one for one in self.events if one["method"] == "Runtime.exceptionThrown"]
        logged = [one["params"]["entry"] for one in self.events if one["method"] == "Log.entryAdded"]
        return [str(one["params"]) for one in wrong] + [one["text"] for one in logged if one["level"] == "error"]

    def addresses(self) -> list[str]:
        """The addresses that the page asked for so far."""
        self.js("1")
        sent = [one["params"] for one in self.events if one["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent]


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser with an empty profile in this folder; skips the test where there is no Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None or os.name != "posix":
        pytest.skip("no Chromium here: apt-get install chromium")
    (theirs_in, to), (back, theirs_out) = os.pipe(), os.pipe()
    options = "--headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe --hide-scrollbars"
    ends = str(theirs_in), str(theirs_out)
    command = [program, *options.split(), "--disable-dev-shm-usage", f"--user-data-dir={folder}"]
    process = subprocess.Popen(
        [sys.executable, "-c", _BEGIN, *ends, *command],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    heard = os.fdopen(back, "rb")
    try:
        yield Browser(to, heard)
    finally:
        os.close(to)  # it ends when nobody can tell it anything any more
        heard.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
