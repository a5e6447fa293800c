"""Tiles on the workers of a Dask cluster: handed out, watched over, taken back."""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from geosr.errors import GeosrError, PlaceError, TileError, one_line
from geosr.models.runtime import ModelNetwork
from geosr.models.threads import prepare_process
from geosr.pipeline import name_of

if TYPE_CHECKING:
    from distributed import Client

_TRIES = 3
"""Times that a tile is handed out before its failure is the run's."""
_PATIENCE = 60.0
"""Seconds that tiles wait while no worker can take them."""
_KEPT = "finished tiles are kept, the same command goes on, here or on another cluster"


def graphics(client: Client) -> int:
    """The tiles that the workers' resources "GPU" let run at a time; 0 where no worker has such a resource."""
    return _slots(_workers(client), "GPU")


def one_kind(client: Client, network: ModelNetwork) -> str:
    """The kind of device that the workers compute on (`ModelNetwork.here`); "" where none of them tells.

    Raises `PlaceError` where they have several, whose pixels differ.
    """
    told = client.run(attrgetter("here"), network, on_error="return")
    # Who can't even tell is found, and named, when tiles are handed out.
    kinds = {answer: address for address, answer in told.items() if isinstance(answer, str)}
    if len(kinds) > 1:
        (one, first), (other, second) = list(kinds.items())[:2]
        raise PlaceError(
            f"worker {first} computes on {one} and {second} on {other}, which would be mixed in one result; name a "
            "device that all have, or use workers of one kind"
        )
    return next(iter(kinds), "")


def workers_are_coming(client: Client) -> bool:
    """True where the client's own cluster has asked for workers, who may wait in a batch system's queue."""
    return bool(getattr(getattr(client, "cluster", None), "requested", ()))


def _slots(workers: Sequence[Mapping[str, Any]], resource: str | None) -> int:
    """Tiles that workers can have in hand together: one a thread, or as many as they have of a resource."""
    if resource is None:
        return sum(worker.get("nthreads", 0) for worker in workers)
    return int(sum(worker.get("resources", {}).get(resource, 0) for worker in workers))


def work(sealed: bytes, *args: Any) -> Any:
    """The result of a job, on a worker; what geosr itself raises comes back as a value, since Dask logs the others."""
    stay_prepared()
    try:
        return _opened(sealed)(*args)
    except GeosrError as error:
        return _Failed(error)


@lru_cache(maxsize=4)
def _opened(sealed: bytes) -> Callable[..., Any]:
    from distributed.protocol.pickle import loads

    job: Callable[..., Any] = loads(sealed)
    return job


_for_good = ExitStack()


@lru_cache
def stay_prepared() -> None:
    """Once a process, and for good: each of its threads is one of its cores, and it has nothing else to do."""
    _for_good.enter_context(prepare_process())
    atexit.register(_for_good.close)


class _DeathsError(TileError):
    """Workers died, and the tile may be why."""


@dataclass(frozen=True, slots=True)
class _Failed:
    error: GeosrError


@dataclass(frozen=True, slots=True)
class _Errand:
    """A job that is out."""

    outer: Future[Any]
    """What the caller waits for."""
    inner: Any
    """Dask's."""
    job: Callable[..., Any]
    args: tuple[Any, ...]
    tries: int
    """How often it may be handed out again."""


class ClusterExecutor(Executor):
    """Jobs for tiles on the workers of a cluster.

    A tile whose worker died, or that failed, is handed out again, to any worker, before others; then its future raises
    one line that names it. Tiles that Dask gave up because workers died with them are tried one at a time, since some
    of them were only near. Where for a minute no worker can take tiles, because there is none or all are out of memory,
    all futures raise `PlaceError`.
    """

    def __init__(self, client: Client, resources: dict[str, int] | None = None) -> None:
        self._client = client
        self._resources = resources
        self._lock = threading.Lock()
        self._flying: dict[Future[Any], _Errand] = {}
        self._suspects: deque[_Errand] = deque()
        self._trial: Future[Any] | None = None
        self._seal: tuple[Any, bytes] = None, b""
        self._over = threading.Event()
        self.slots = 1
        """Tiles that the workers take at once, as last seen: clusters grow and shrink."""
        self._nobody()
        threading.Thread(target=self._watch, name="geosr-watch", daemon=True).start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future for `fn(tile)` on a worker. Raises `PlaceError` where the scheduler is gone."""
        outer: Future[Any] = Future()
        self._hand_out(outer, fn, args, _TRIES - 1)
        return outer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Call back what is still out; the cluster itself stays."""
        self._over.set()
        left = [errand.inner for errand in self._all()]
        if left and self._client.status == "running":
            self._client.cancel(left, force=True)

    def _all(self) -> list[_Errand]:
        """Everything that isn't settled; from now on it is nobody's."""
        with self._lock:
            left = [*self._flying.values(), *self._suspects]
            self._flying.clear()
            self._suspects.clear()
        return left

    def _hand_out(self, outer: Future[Any], job: Callable[..., Any], args: tuple[Any, ...], tries: int) -> None:
        try:
            order = {"priority": _TRIES - 1 - tries, "resources": self._resources}
            inner = self._client.submit(work, self._sealed(job), *args, pure=False, **order)
        except Exception as error:  # whatever a client without a scheduler raises
            raise PlaceError(_gone(error)) from error
        errand = _Errand(outer, inner, job, args, tries)
        with self._lock:
            self._flying[outer] = errand
        inner.add_done_callback(lambda done: self._take(errand))

    def _sealed(self, job: Callable[..., Any]) -> bytes:
        """A job as bytes, once for all its tiles: the scheduler passes them on, and would take a job itself apart."""
        from distributed.protocol.pickle import dumps

        last, sealed = self._seal
        if last is not job:
            sealed = dumps(job)
            self._seal = job, sealed
        return sealed

    def _take(self, errand: _Errand) -> None:
        outcome = self._outcome(errand)
        with self._lock:
            if self._flying.pop(errand.outer, None) is None:
                return  # called back, or given up
            if self._trial is errand.outer:
                self._trial = None
            again = isinstance(outcome, TileError) and errand.tries > 0 and not errand.outer.cancelled()
            if again and isinstance(outcome, _DeathsError):
                self._suspects.append(errand)
        if not again:
            _settle(errand.outer, outcome)
        elif not isinstance(outcome, _DeathsError):
            self._again(errand)
        self._try_a_suspect()

    def _try_a_suspect(self) -> None:
        with self._lock:
            if self._trial or not self._suspects:
                return
            errand = self._suspects.popleft()
            self._trial = errand.outer
        self._again(errand)

    def _again(self, errand: _Errand) -> None:
        try:
            self._hand_out(errand.outer, errand.job, errand.args, errand.tries - 1)
        except PlaceError as gone:
            _settle(errand.outer, gone)

    def _outcome(self, errand: _Errand) -> Any:
        """The result, or a `GeosrError`: a `TileError` where another try may help."""
        from distributed import KilledWorker

        try:
            if errand.inner.status == "cancelled":
                return PlaceError(_gone("it lost this run's tiles"))
            error = errand.inner.exception()  # waits where a result was lost with its worker and is made again
            result = None if error else errand.inner.result()
        except BaseException as late:
            return PlaceError(_gone(late))
        if isinstance(result, _Failed):
            return result.error
        if error is None:
            return result
        if isinstance(error, KilledWorker):
            deaths = _TRIES * (error.allowed_failures + 1)
            return _DeathsError(
                f"{name_of(errand.args[0])}: {deaths} times in a row the worker died on it, perhaps of memory; use a "
                f"smaller tile, or workers with more memory"
            )
        return TileError(f"{name_of(errand.args[0])}: {one_line(error)}")

    def _watch(self) -> None:
        """Give up where nobody can take tiles for too long: Dask itself would wait for ever."""
        since = None
        while not self._over.wait(_PATIENCE / 12):
            why = self._nobody()
            since = (since or time.monotonic()) if why else None
            if since and time.monotonic() - since >= _PATIENCE:
                self._give_up(PlaceError(f"for {_PATIENCE:g} s no worker could take a tile: {why}; {_KEPT}"))
                return

    def _nobody(self) -> str:
        """Why no worker can take tiles; empty where one can, or where it isn't known."""
        try:
            workers = _workers(self._client)
        except Exception:  # without a scheduler the tiles themselves tell
            return ""
        self.slots = max(1, _slots(workers, "GPU" if self._resources else None))
        if not workers:
            return "" if workers_are_coming(self._client) else "the cluster has none left"
        if self._resources and not any(worker.get("resources", {}).get("GPU") for worker in workers):
            return "none has the resource GPU any more"
        if not any(worker.get("status", "running") == "running" for worker in workers):
            return "all of them are paused, near the end of their memory; use a smaller tile, or give them more"
        return ""

    def _give_up(self, error: PlaceError) -> None:
        for errand in self._all():
            errand.inner.cancel(force=True)
            _settle(errand.outer, error)


def _settle(future: Future[Any], outcome: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, GeosrError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _workers(client: Client) -> list[dict[str, Any]]:
    return list(client.scheduler_info(n_workers=-1)["workers"].values())


def _gone(why: object) -> str:
    return f"the Dask scheduler is gone ({one_line(why)}); {_KEPT}"
