"""Where tiles run: threads or processes of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geosr import __version__
from geosr.errors import GeosrError, InputError, PlaceError
from geosr.io.zarr_sink import ZarrEncoder
from geosr.models.runtime import prepare_process
from geosr.pipeline import Job
from geosr.tiling import Tile
from geosr.window import Window

if TYPE_CHECKING:
    from distributed import Client

_ADDRESSES = ("tcp://", "tls://", "ucx://", "ws://", "wss://", "inproc://")
_WORKER_TIMEOUT = 60
"""Seconds to wait for the first worker of a cluster."""
_DEATHS = 8
"""Times that a tile is given out again after Dask has given it up, because workers died with it."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Who works on tiles."""

    executor: Executor
    ahead: int
    """Tiles in flight, so that nobody waits and memory stays bounded."""


@contextmanager
def crew(scheduler: str | Path | Client | None, workers: int, job: Job) -> Iterator[Crew]:
    """A crew for a job, checked: every worker sees the input, has the model and the same geosr.

    `scheduler` is a `distributed.Client`, the address of a scheduler ("tcp://host:8786"), a scheduler file, "local:N"
    for N worker processes under Dask, "processes", or "threads" (as None). Raises `InputError` for another, and
    `PlaceError` where no scheduler or worker answers, or one of them can't do the job.
    """
    if scheduler is None or scheduler == "threads":
        with ThreadPoolExecutor(workers) as pool:
            yield Crew(pool, workers + 1)
    elif scheduler == "processes":
        with ProcessPoolExecutor(workers, get_context("spawn"), _stay_prepared) as processes:
            try:
                yield Crew(processes, workers + 1)
            except BrokenProcessPool as error:
                raise PlaceError("a worker process died, perhaps of memory; use a smaller --tile or fewer") from error
    else:
        with _client(scheduler) as client:
            yield _cluster(client, job)


def work(job: Job, tile: Tile) -> Any:
    """The encoded result of a tile, on a worker."""
    _stay_prepared()
    return job(tile)


_for_good = ExitStack()


@lru_cache
def _stay_prepared() -> None:
    """Once a process, and for good: it has nothing else to do."""
    _for_good.enter_context(prepare_process(threads=1))
    atexit.register(_for_good.close)


def look(job: Job, version: str) -> str | None:
    """What keeps this process from doing a job, in one line; None where nothing does."""
    if version != __version__:
        return f"it has geosr {__version__}, and this run is of {version}; install the same there"
    try:
        job.source.pixels(Window(0, 0, 1, 1))  # type: ignore[attr-defined]
    except GeosrError as error:
        return f"it can't read the input: {error}"
    try:
        assert job.upscaler.network.halo >= 0  # loads it
    except GeosrError as error:
        return f"it can't load the model: {error}"
    return job.encoder.check() if isinstance(job.encoder, ZarrEncoder) else None


class ClusterExecutor(Executor):
    """Tiles on the workers of a cluster. A tile whose worker died is done by another."""

    def __init__(self, client: Client, resources: dict[str, int] | None = None) -> None:
        self._client = client
        self._resources = resources
        self._lock = threading.Lock()
        self._flying: dict[Future[Any], Any] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future for `fn(*args)` on a worker."""
        outer: Future[Any] = Future()
        self._hand_out(outer, fn, args, _DEATHS)
        return outer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Call back what is still out; the cluster itself stays."""
        with self._lock:
            left = list(self._flying.values())
            self._flying.clear()
        if left and self._client.status == "running":
            self._client.cancel(left, force=True)

    def _hand_out(self, outer: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], lives: int) -> None:
        try:
            inner = self._client.submit(work, fn, *args, pure=False, retries=2, resources=self._resources)
        except Exception as error:  # whatever a client without a scheduler raises
            raise PlaceError(_gone(error)) from error
        with self._lock:
            self._flying[outer] = inner
        inner.add_done_callback(lambda done: self._take(outer, done, fn, args, lives))

    def _take(self, outer: Future[Any], inner: Any, fn: Callable[..., Any], args: tuple[Any, ...], lives: int) -> None:
        from distributed import KilledWorker

        with self._lock:
            self._flying.pop(outer, None)
        error: BaseException | None = None
        result = None
        try:
            if inner.status in ("cancelled", "lost"):
                error = PlaceError(_gone("it lost this run's tiles"))
            else:
                error = inner.exception()
                result = None if error else inner.result()
            if isinstance(error, KilledWorker) and lives and not outer.cancelled():
                self._hand_out(outer, fn, args, lives - 1)
                return
        except BaseException as late:
            error = PlaceError(_gone(late))
        if not outer.set_running_or_notify_cancel():
            return
        if isinstance(error, KilledWorker):
            error = PlaceError(f"{_DEATHS} workers in a row died on one tile, perhaps of memory; use a smaller --tile")
        if error is None:
            outer.set_result(result)
        else:
            outer.set_exception(error if isinstance(error, GeosrError) else PlaceError(_one_line(error)))


@contextmanager
def _client(scheduler: str | Path | Client) -> Iterator[Client]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError("a cluster needs Dask; install geosr[cluster]") from error
    if isinstance(scheduler, Client):
        yield scheduler
        return
    text = str(scheduler)
    if text.startswith("local:") and text[6:].isdigit() and int(text[6:]) > 0:
        count = int(text[6:])
        with (
            LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as local,
        ):
            yield local
        return
    if not text.startswith(_ADDRESSES) and not Path(text).is_file():
        raise InputError(
            f"scheduler {text!r} is neither threads, processes, local:N, an address such as tcp://host:8786, "
            "nor a scheduler file"
        )
    place = {"address": text} if text.startswith(_ADDRESSES) else {"scheduler_file": text}
    try:
        remote = Client(**place, timeout=20, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise PlaceError(f"no Dask scheduler answers at {text}: {_one_line(error)}") from error
    with remote:
        yield remote


def _cluster(client: Client, job: Job) -> Crew:
    try:
        client.wait_for_workers(1, timeout=_WORKER_TIMEOUT)
    except TimeoutError as error:
        raise PlaceError(f"the cluster has had no worker for {_WORKER_TIMEOUT} s; start some and try again") from error
    for address, said in client.run(look, job, __version__, on_error="return").items():
        if said is not None and not isinstance(said, OSError):  # a worker that left meanwhile is none
            raise PlaceError(f"worker {address} can't take part: {said if isinstance(said, str) else _one_line(said)}")
    threads = sum(client.nthreads().values())
    graphics = 0
    if str(getattr(job.upscaler.network, "device", "cpu")).startswith("cuda"):
        known = client.scheduler_info(n_workers=-1)["workers"].values()
        graphics = int(sum(worker.get("resources", {}).get("GPU", 0) for worker in known))
    executor = ClusterExecutor(client, {"GPU": 1} if graphics else None)
    return Crew(executor, 2 * (graphics or threads) + 1)


def _gone(why: object) -> str:
    return (
        f"the Dask scheduler is gone ({_one_line(why)}); finished tiles are kept, the same command goes on, here or "
        "on another cluster"
    )


def _one_line(why: object) -> str:
    text = " ".join(str(why).split())
    return text[:200] or type(why).__name__
