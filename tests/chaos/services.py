"""The services of a campaign behind proxies with faults, which come back on what they held."""

from __future__ import annotations

import contextlib
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.fixtures import embedded_server
from services.processes import conductor_health, free_port, start_conductor
from support.conductor import Conductor
from support.proxy import Proxy

from .stores import OwnVictoriaMetrics, WholeStore
from .weather import Weather


class EmbeddedLake:
    """An embedded store on one port, which keeps its repositories in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._server: embedded_server | None = None

    def __enter__(self) -> EmbeddedLake:
        self._server = embedded_server("--data-dir", str(self._folder), port=self._port)
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.__exit__()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Be killed for as long as the block runs."""
        assert self._server is not None
        self._server.kill()
        try:
            yield
        finally:
            self.__enter__()


class RealConductor:
    """A real Conductor on one port, which keeps its database in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/api"

    def __enter__(self) -> RealConductor:
        self._service = start_conductor(self._folder, self._port)
        try:
            self._service.wait_until_ready(conductor_health(self._service))
        except BaseException:
            self._service.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._service.stop()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Be stopped for as long as the block runs."""
        self._service.stop()
        try:
            yield
        finally:
            self.__enter__()


class Services:
    """Conductor, lakeFS and metrics, embedded or real (lakeFS is embedded always); a context manager.

    The embedded engine holds its runs in memory, so that it cannot be restarted: its proxy is cut instead.

    Args:
        folder: What they keep.
        is_real: Whether Conductor and VictoriaMetrics are the real ones.
        rate: How probable each kind of fault is at each call.
        seed: Of the faults.
    """

    def __init__(self, folder: Path, *, is_real: bool, rate: float, seed: int) -> None:
        self.is_real = is_real
        self._folder = folder
        self._rate, self._seed = rate, seed
        self._stack = contextlib.ExitStack()
        self.breaks: Tally[str] = Tally()

    def __enter__(self) -> Services:
        with contextlib.ExitStack() as stack:
            self.lake = stack.enter_context(EmbeddedLake(self._folder / "lake"))
            if self.is_real:
                self._metrics = stack.enter_context(OwnVictoriaMetrics(self._folder / "metrics"))
                metrics_url = self._metrics.url
                self._real_engine = stack.enter_context(RealConductor(self._folder / "conductor"))
                engine_url = self._real_engine.url
            else:
                metrics_url = stack.enter_context(embedded_server())
                engine_url = f"{metrics_url}/api"
            self.conductor = Conductor(engine_url, "real" if self.is_real else "embedded")
            self.store = WholeStore(metrics_url)
            self.engine_proxy = stack.enter_context(Proxy(engine_url))
            self.lake_proxy = stack.enter_context(Proxy(self.lake.url, keeps_host=True))
            self.metrics_proxy = stack.enter_context(Proxy(metrics_url))
            proxies = (self.engine_proxy, self.lake_proxy, self.metrics_proxy)
            self._weather = [
                Weather(proxy, self._rate, self._seed + number) for number, proxy in enumerate(proxies)
            ]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def faults(self) -> Tally[str]:
        """What has met calls so far."""
        total: Tally[str] = Tally()
        for weather in self._weather:
            total.update(weather.met)
        return total

    def clear(self) -> None:
        """Let every call pass from now on."""
        for weather in self._weather:
            weather.clear()

    @contextmanager
    def engine_away(self) -> Iterator[None]:
        """A real Conductor is stopped and started on its database; the embedded one cannot be reached."""
        with self._real_engine.away() if self.is_real else self.engine_cut():
            yield
        self.breaks["restarts of Conductor"] += self.is_real

    @contextmanager
    def engine_cut(self) -> Iterator[None]:
        """Conductor cannot be reached."""
        self.engine_proxy.cut()
        try:
            yield
        finally:
            self.engine_proxy.restore()
        self.breaks["times without a way to Conductor"] += 1

    @contextmanager
    def lake_away(self) -> Iterator[None]:
        """The store is killed and started on its folder."""
        with self.lake.away():
            yield
        self.breaks["kills of lakeFS"] += 1

    @contextmanager
    def metrics_away(self) -> Iterator[None]:
        """A real VictoriaMetrics is stopped and started on its storage; an embedded one cannot be reached."""
        if self.is_real:
            self._metrics.stop()
        else:
            self.metrics_proxy.cut()
        try:
            yield
        finally:
            if self.is_real:
                self._metrics.start()
            else:
                self.metrics_proxy.restore()
        self.breaks["times without metrics"] += 1
