"""Faults at random calls of a worker: lost requests, lost and broken replies, refusals, delays."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter as Tally
from dataclasses import replace

from support.faults import drop, storm, truncated
from support.proxy import Answer, Exchange, Proxy

LONGEST_DELAY_SECONDS = 0.3


class Weather:
    """What passes a proxy meets each kind of fault with the probability `rate`; `met` counts them.

    Nothing is remembered of what has passed: a campaign is long.
    """

    def __init__(self, proxy: Proxy, rate: float, seed: int) -> None:
        self.met: Tally[str] = Tally()
        self.rate = rate
        self._proxy = proxy
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        proxy.before, proxy.after = self._before, self._after

    def clear(self) -> None:
        """Let everything pass from now on."""
        self.rate = 0

    def _meets(self, fault: str) -> float:
        """Decide on one fault: a random number from 0 to 1 where there is one, else 0."""
        with self._lock:
            if self._random.random() >= self.rate:
                return 0
            self.met[fault] += 1
            return 1 - self._random.random()

    def _before(self, exchange: Exchange) -> Answer | None:
        if share := self._meets("delays"):
            time.sleep(share * LONGEST_DELAY_SECONDS)
        if self._meets("lost requests"):
            return drop(exchange)
        return storm(exchange) if self._meets("refusals") else None

    def _after(self, exchange: Exchange) -> Answer | None:
        self._proxy.exchanges.clear()
        if self._meets("lost replies"):
            return drop(exchange)
        if self._meets("broken replies"):
            return truncated(replace(exchange))
        return None
