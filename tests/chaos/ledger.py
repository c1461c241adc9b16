"""What the witnesses say a store must show, and whether it does."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field
from pathlib import Path

from .modules.witness import CHUNK, SONG, Counter, Witness, counters, read_all
from .stores import SUM_TOLERANCE, History

# Every whole value that is given to a histogram, by its name: its sum must be its count times the value.
CONSTANTS = {"chunks": CHUNK, "songs": SONG}


@dataclass
class Findings:
    """What was compared, and what was wrong."""

    series: int = 0
    recorders: int = 0
    finished: int = 0
    in_flight: int = 0
    counted_in_flight: int = 0
    problems: list[str] = field(default_factory=list)

    def expect(self, is_so: bool, problem: str) -> None:
        """Note a problem unless `is_so`."""
        if not is_so:
            self.problems.append(problem)


class Ledger:
    """The witnesses of one campaign, summed over all runs of each recorder."""

    def __init__(self, folder: Path) -> None:
        self.witnesses = read_all(folder)

    def compare(self, history: History) -> Findings:
        """Compare every series that the bodies recorded into with the store's last values."""
        findings = Findings(recorders=len(self.witnesses))
        for witness in self.witnesses:
            findings.expect(
                witness.in_flight in (0, 1), f"{witness} has {witness.in_flight} calls in flight at once"
            )
        findings.finished = sum(sum(witness.steps[1::2]) for witness in self.witnesses)
        findings.in_flight = sum(witness.in_flight for witness in self.witnesses)
        for (name, labels), (finished, begun) in sorted(self._bounds().items()):
            findings.series += 1
            count = history.total(f"app.{name}_count", **dict(labels))
            findings.counted_in_flight += round(count) - finished
            findings.expect(
                finished <= count <= begun,
                f"{name} {dict(labels)}: {count:.0f} counted, {finished} finished, {begun} begun",
            )
            if name in CONSTANTS:
                total, expected = history.total(f"app.{name}_sum", **dict(labels)), count * CONSTANTS[name]
                findings.expect(
                    total == expected, f"{name} {dict(labels)}: the sum is {total!r}, not {expected!r}"
                )
        self._compare_items(history, findings)
        return findings

    def _bounds(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], tuple[int, int]]:
        """Return, for each histogram series, how many calls have finished and how many were begun."""
        finished: Tally[tuple[str, tuple[tuple[str, str], ...]]] = Tally()
        begun: Tally[tuple[str, tuple[tuple[str, str], ...]]] = Tally()
        for witness in self.witnesses:
            for counter in counters(witness.recorder):
                if counter.kind != "gauge":
                    finished[counter.name, counter.labels] += witness.finished(counter)
                    begun[counter.name, counter.labels] += witness.begun(counter)
        return {series: (finished[series], begun[series]) for series in begun}

    def _compare_items(self, history: History, findings: Findings) -> None:
        """Compare the buckets of `items`, of which each recorder has one: its own total over its runs."""
        finished: Tally[float] = Tally()
        begun: Tally[float] = Tally()
        for witness in self.witnesses:
            items = counters(witness.recorder)[0]
            finished[witness.value] += witness.finished(items)
            begun[witness.value] += witness.begun(items)
        buckets = history.buckets("app.items")
        for bound, count in buckets.items():
            low, high = finished[bound], begun[bound]
            findings.expect(
                low <= count <= high,
                f"items of value {bound}: {count} counted, {low} finished, {high} begun",
            )
        expected = sum(bound * count for bound, count in buckets.items() if count)
        total = history.total("app.items_sum")
        findings.expect(
            abs(total - expected) <= SUM_TOLERANCE * expected,
            f"items: the sum is {total!r}, the buckets say {expected!r}",
        )

    def gauge_problems(self, history: History, living: set[int]) -> list[str]:
        """Describe each gauge that shows something else than the last value of an executor that lives."""
        problems = []
        last: dict[tuple[str, tuple[tuple[str, str], ...]], set[float]] = {}
        for witness in self.witnesses:
            if witness.executor in living:
                for counter in counters(witness.recorder):
                    if counter.kind == "gauge" and witness.finished(counter):
                        value = _last_value(witness, counter)
                        last.setdefault((counter.name, counter.labels), set()).add(value)
        for (name, labels), values in sorted(last.items()):
            shown = list(history.last(f"app.{name}", **dict(labels)).values())
            if len(shown) != 1 or shown[0] not in values:
                problems.append(f"gauge {name} {dict(labels)} shows {shown}, none of {sorted(values)}")
        if not last:
            problems.append("no living executor has set a gauge")
        return problems


def _last_value(witness: Witness, counter: Counter) -> float:
    return witness.depth if counter.name == "depth" else witness.position
