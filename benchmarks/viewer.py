"""How long `geosr serve` takes until a view of a large scene is there, in a browser.

    python benchmarks/viewer.py [--side 10980] [--model fast] [--size 1536 1024] [--rounds 3] [--folder FOLDER]

Needs Chromium. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measure import geosr, make_scene

from tests.browser import Browser, browsing

_OF = "document.getElementById('geosr')?.dataset"
_SOURCE, _SEEN, _ALL = (f"{_OF}?.{name} === '0'" for name in ("source", "seen", "missing"))
"""What is true when the scene is there, then what the other side doesn't hide, then all that is in view."""


def waited(browser: Browser, code: str) -> float:
    """The time at which an expression comes to be true in the page."""
    while not browser.js(code):
        time.sleep(0.01)
    return time.perf_counter()


def cpu_of(pid: int) -> float:
    """CPU seconds that a process took so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(browser: Browser, scene: Path, model: str, size: tuple[int, int]) -> dict[str, float]:
    """Seconds from the command to its address, from there to what is seen, and those of a step aside then."""
    start = time.perf_counter()
    server = subprocess.Popen(geosr("serve", str(scene), "--model", model), stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        ready = time.perf_counter()
        browser.size(*size)
        browser.open(url)
        source = waited(browser, _SOURCE)
        view = waited(browser, _SEEN)
        whole = waited(browser, _ALL)
        cpu = cpu_of(server.pid)
        browser.js("document.getElementById('view').focus()")
        browser.key("ArrowRight")
        step = time.perf_counter()
        end = waited(browser, _SEEN)
        return {
            "address": ready - start,
            "scene": source - ready,
            "view": view - ready,
            "behind the divider": whole - ready,
            "cpu": cpu,
            "step": end - step,
        }
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=10980)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--size", type=int, nargs=2, default=(1536, 1024))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        scene = make_scene(folder / f"scene{options.side}.tif", options.side, 4)
        with browsing(Path(temporary) / "profile") as browser:
            for _ in range(options.rounds):
                told = measured(browser, scene, options.model, tuple(options.size))
                print("  ".join(f"{name} {seconds:.2f} s" for name, seconds in told.items()), flush=True)


if __name__ == "__main__":
    main()
