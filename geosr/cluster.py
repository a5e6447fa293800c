"""Where tiles run: threads or processes of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import current_process, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geosr.dispatch import ClusterExecutor, graphics, one_kind, stay_prepared, workers_are_coming
from geosr.errors import GeosrError, InputError, PlaceError, one_line
from geosr.io.source import close as close_files
from geosr.io.zarr_sink import ZarrEncoder
from geosr.models.runtime import ModelNetwork, looking
from geosr.pipeline import Job, Work, in_flight
from geosr.window import Window

if TYPE_CHECKING:
    from distributed import Client

_ADDRESSES = ("tcp://", "tls://", "ucx://", "ws://", "wss://", "inproc://")
_SCHEDULER_TIMEOUT = 20.0
"""Seconds to wait for a scheduler to answer."""
_WORKER_TIMEOUT = 60.0
"""Seconds to wait for the first worker of a cluster."""
POOL = "geosr pool"
"""What names of threads that work on tiles begin with."""
_IMPORTED = 76
"""Exit code of a process that ended while it imported the caller's script."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Who works on tiles."""

    executor: Executor
    workers: int = 0
    """Threads or processes of this machine, where there is no cluster."""

    @property
    def ahead(self) -> int:
        """Tiles in flight, so that nobody waits and memory stays bounded; as many as a cluster takes for now."""
        if isinstance(self.executor, ClusterExecutor):
            return 2 * self.executor.slots + 1
        return in_flight(self.workers)


@contextmanager
def pool_for(scheduler: str | Path | Client | None, workers: int, job: Work) -> Iterator[Pool]:
    """A pool for a job, checked: every worker sees the input, has the model, and the same geosr and torch.

    `scheduler` is a `distributed.Client`, the address of a scheduler ("tcp://host:8786"), a scheduler file, "local:N"
    for N worker processes under Dask, "processes", or "threads" (as None). Raises `InputError` for another, and
    `PlaceError` where no scheduler or worker answers, or one of them can't do the job.
    """
    if scheduler is None or scheduler == "threads":
        with left_behind_on_interrupt(ThreadPoolExecutor(workers, POOL)) as threads:
            yield Pool(threads, workers)
    elif scheduler == "processes":
        _check_start(scheduler)
        with left_behind_on_interrupt(_Processes(workers, get_context("spawn"), _begin_work)) as processes:
            try:
                yield Pool(processes, workers)
            except BrokenProcessPool as error:
                raise PlaceError("a worker process died, perhaps of memory; use a smaller --tile or fewer") from error
    else:
        with _client(scheduler) as client:
            _check_workers(client, job)
            cards = (
                graphics(client)
                if isinstance(job, Job) and getattr(job.upscaler.network, "device", "cpu") != "cpu"
                else 0
            )
            with ClusterExecutor(client, {"GPU": 1} if cards else None) as executor:
                yield Pool(executor)


class _Processes(ProcessPoolExecutor):
    """Processes that hold interrupts back from their first moment: the calling process alone answers them."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor`; a process that is started for it inherits what is held back."""
        if not hasattr(signal, "pthread_sigmask"):
            return super().submit(*args, **kwargs)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(*args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kind_for(scheduler: str | Path | Client | None, network: ModelNetwork) -> str:
    """The kind of device that tiles will be computed on (`ModelNetwork.here`); of a cluster, that of its workers.

    Raises `PlaceError` where they have several, whose pixels differ, or as `pool_for`.
    """
    if scheduler is None or not _is_elsewhere(scheduler):
        return network.here
    with _client(scheduler) as client:
        _wait_for_a_worker(client)
        return one_kind(client, network)


def looking_on(scheduler: str | Path | Client | None) -> AbstractContextManager[None]:
    """While inside this thread leaves graphics cards alone, where tiles run on other machines (`runtime.looking`)."""
    return looking() if _is_elsewhere(scheduler) else nullcontext()


def _is_elsewhere(scheduler: Any) -> bool:
    """True for a cluster that isn't of this machine's own processes."""
    return scheduler not in (None, "threads", "processes") and not _local_workers(scheduler)


def _local_workers(scheduler: Any) -> int:
    """N of "local:N"; 0 for anything else."""
    text = str(scheduler)
    return int(text[6:]) if text.startswith("local:") and text[6:].isdigit() else 0


def stop_where_imported(scheduler: Any) -> None:
    """End this process where it is one that was started for a run like this, and only imports the caller's script.

    Python imports the script in every process that it starts. One that calls geosr as it is imported would start
    processes again; the first of them ends here, silently, and tells by its exit code.
    """
    if (scheduler == "processes" or _local_workers(scheduler)) and getattr(current_process(), "_inheriting", False):
        raise SystemExit(_IMPORTED)


def _check_start(scheduler: str) -> None:
    """Start a process and see it end. Raises where the caller's script keeps processes from starting."""
    first = get_context("spawn").Process(target=int)
    first.start()
    first.join()
    script = Path(getattr(sys.modules["__main__"], "__file__", None) or "the script").name
    if first.exitcode == _IMPORTED:
        raise InputError(
            f"scheduler '{scheduler}' starts processes, each of which imports {script}, and that calls geosr as it is "
            'imported; put the call under `if __name__ == "__main__":`, or use threads'
        )
    if first.exitcode:
        raise PlaceError(f"a process can't start: importing {script} in it ended with exit code {first.exitcode}")


@contextmanager
def left_behind_on_interrupt(pool: Executor) -> Iterator[Executor]:
    """A pool that is waited for at the end, but not after an interrupt: a tile in flight may take minutes."""
    try:
        yield pool
    except Exception:
        pool.shutdown()
        raise
    except BaseException:
        # Python 3.14 has a public name for this: kill_workers.
        processes = dict(getattr(pool, "_processes", None) or {}).values()
        for process in processes:
            process.kill()
        pool.shutdown(wait=bool(processes), cancel_futures=True)
        raise
    pool.shutdown()


def _begin_work() -> None:
    """A worker process is told by its parent when to end; a terminal's Ctrl-C goes to both.

    Its number among them says which card is its own, where there are several.
    """
    os.environ.setdefault("LOCAL_RANK", str(current_process()._identity[-1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stay_prepared()


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
    if workers := _local_workers(scheduler):
        _check_start(text)
        # Even without a dashboard Dask opens a port: any, since the usual one may be another cluster's.
        settings: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.ERROR}
        settings["scheduler_kwargs"] = {"dashboard_address": "127.0.0.1:0"}
        with LocalCluster(n_workers=workers, **settings) as cluster, Client(cluster) as local:
            yield local
        return
    with _remote(text) as remote:
        yield remote


def _remote(scheduler: str) -> Client:
    from distributed import Client

    address = scheduler if scheduler.startswith(_ADDRESSES) else _address_in(Path(scheduler))
    try:
        return Client(address, timeout=_SCHEDULER_TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise PlaceError(f"no Dask scheduler answers at {address}: {one_line(error)}") from error


def _address_in(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except OSError:
        raise InputError(
            f"scheduler '{file}' is neither threads, processes, local:N, an address such as tcp://host:8786, nor a "
            "scheduler file"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file} is not what a Dask scheduler writes with --scheduler-file") from None


def _check_workers(client: Client, job: Work) -> None:
    """Ask every worker whether it can do a job. Raises `PlaceError` that names the first one that can't, and why."""
    _wait_for_a_worker(client)
    ours = _teller()()
    for address, theirs in _asked(client, _teller()):
        if strange := [package for package in ours if ours[package] != theirs[package]]:
            package = strange[0]
            raise PlaceError(
                f"worker {address} can't take part: it has {package} {theirs[package] or 'not at all'}, and this run "
                f"is of {ours[package]}; install the same there"
            )
    for address, said in _asked(client, look, job):
        if said is not None:
            raise PlaceError(f"worker {address} can't take part: {said}")


def _wait_for_a_worker(client: Client) -> None:
    """Wait until something is done by a worker; an adaptive cluster has none before there is something to do."""
    anything = client.submit(int, pure=False)
    while True:
        try:
            anything.result(timeout=_WORKER_TIMEOUT)
            return
        except TimeoutError as error:
            if not workers_are_coming(client):
                raise PlaceError(
                    f"the cluster has had no worker for {_WORKER_TIMEOUT:g} s; start some, wait for them and try again"
                ) from error
        except Exception as error:  # whatever a client without a scheduler raises
            raise PlaceError(f"the Dask cluster can't be used: {one_line(error)}") from error


def look(job: Work) -> str | None:
    """The line that says why this process can't do a job; None where it can."""
    close_files()  # what is known of the input from before says nothing
    try:
        rasters: Any = getattr(job.source, "rasters", (job.source,))
        for raster in rasters:
            raster.pixels(Window(0, 0, 1, 1))
    except GeosrError as error:
        return f"it can't read the input: {error}"
    if not isinstance(job, Job):
        return None
    try:
        network = job.upscaler.network
        halo = network.halo if network else 0  # loads it
    except GeosrError as error:
        return f"it can't load the model: {error}"
    if halo > job.plan.halo:
        return (
            f"the model sees {halo} pixels far there, and tiles were made for {job.plan.halo}; install the same there"
        )
    return job.encoder.check() if isinstance(job.encoder, ZarrEncoder) else None


def _asked(client: Client, question: Callable[..., Any], *args: Any) -> Iterator[tuple[str, Any]]:
    """The answer of each worker. Raises `PlaceError` that names one that can't even understand the question."""
    for address, answer in client.run(question, *args, on_error="return").items():
        if isinstance(answer, OSError):  # a worker that left meanwhile is none
            continue
        if isinstance(answer, BaseException):
            raise PlaceError(f"worker {address} can't take part: {one_line(answer)}")
        yield address, answer


def _teller() -> Callable[[], dict[str, str | None]]:
    """A function that tells versions, made here so that it travels whole: a worker without geosr can answer."""

    def versions() -> dict[str, str | None]:
        """Versions by package; None where it isn't there."""
        from contextlib import suppress
        from importlib import import_module, metadata

        told: dict[str, str | None] = {"geosr": None, "torch": None}
        with suppress(ImportError):
            told["geosr"] = str(import_module("geosr").__version__)
        with suppress(ImportError):
            told["torch"] = metadata.version("torch").partition("+")[0]
        return told

    return versions
