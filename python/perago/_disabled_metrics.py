"""The recorder of a worker that exports no metrics (``OTEL_SDK_DISABLED=true``) for a task that has some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perago.metrics import InMemoryMetricRecorder

if TYPE_CHECKING:
    from collections.abc import Mapping


class DisabledMetricRecorder(InMemoryMetricRecorder):
    """Keeps nothing; a call of the wrong shape raises as with any recorder."""

    def _record(self, kind: str, name: str, value: float, labels: Mapping[str, str] | None) -> None:
        self._rules.check(kind, name, value, labels)

    def _warn(self, fields: dict[str, str]) -> None:
        """Say nothing: what is not exported cannot be exported wrongly."""
