"""What authors declare tasks with, and the workspace references that travel between tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from perago._spec import SpecModel
from perago.guards import _WorkspaceGuardrail

__all__ = [
    "ExecutionLimits",
    "MetricSpec",
    "PublishBudget",
    "RetryPolicy",
    "TaskControls",
    "TimeoutPolicy",
    "WorkspaceInput",
    "WorkspaceOutput",
    "WorkspaceRef",
    "WorkspaceSpec",
]

DEFAULT_RETRY_COUNT = 3
MAX_RETRY_COUNT = 10
DEFAULT_RETRY_LOGIC = "FIXED"
DEFAULT_RETRY_DELAY_SECONDS = 60
DEFAULT_RETRY_MAX_DELAY_SECONDS = 0
DEFAULT_RETRY_JITTER_MS = 0
DEFAULT_TIMEOUT_POLICY = "TIME_OUT_WF"
DEFAULT_TIMEOUT_SECONDS = 0
DEFAULT_TIMEOUT_RESPONSE_SECONDS = 600
DEFAULT_TIMEOUT_POLL_SECONDS = 0
DEFAULT_TIMEOUT_TOTAL_SECONDS = 0


class RetryPolicy(SpecModel):
    """How often and when Conductor repeats a failed attempt."""

    count: int = Field(default=DEFAULT_RETRY_COUNT, ge=0, le=MAX_RETRY_COUNT)
    """Retries after the first attempt, 0 to 10."""
    logic: Literal["FIXED", "EXPONENTIAL_BACKOFF", "LINEAR_BACKOFF"] = "FIXED"
    """How the delay grows."""
    delay_seconds: int = Field(default=DEFAULT_RETRY_DELAY_SECONDS, ge=0)
    """Delay before the first retry."""
    max_delay_seconds: int = Field(default=DEFAULT_RETRY_MAX_DELAY_SECONDS, ge=0)
    """Longest delay; 0 is no bound."""
    jitter_ms: int = Field(default=DEFAULT_RETRY_JITTER_MS, ge=0)
    """Random addition to each delay, in milliseconds."""


class TimeoutPolicy(SpecModel):
    """How long a task may take, and what follows when it takes longer."""

    policy: Literal["RETRY", "TIME_OUT_WF", "ALERT_ONLY"] = "TIME_OUT_WF"
    """What Conductor does after a timeout."""
    seconds: int = Field(default=DEFAULT_TIMEOUT_SECONDS, ge=0)
    """Longest time from the poll to the end; 0 is no bound."""
    response_seconds: int = Field(default=DEFAULT_TIMEOUT_RESPONSE_SECONDS, ge=0)
    """Longest time between two signs of life: the lease."""
    poll_seconds: int = Field(default=DEFAULT_TIMEOUT_POLL_SECONDS, ge=0)
    """Longest wait for a worker; 0 is no bound."""
    total_seconds: int = Field(default=DEFAULT_TIMEOUT_TOTAL_SECONDS, ge=0)
    """Longest time over all retries; 0 is no bound."""


class ExecutionLimits(SpecModel):
    """How many attempts may run, at once and per time, over all workers."""

    concurrent_exec_limit: int | None = Field(default=None, ge=0)
    """Attempts that may run at once."""
    rate_limit_frequency_in_seconds: int | None = Field(default=None, ge=0)
    """Window of the rate limit."""
    rate_limit_per_frequency: int | None = Field(default=None, ge=0)
    """Attempts that may start in each window."""

    @model_validator(mode="after")
    def _check_rate_limit(self) -> ExecutionLimits:
        if (self.rate_limit_frequency_in_seconds is None) != (self.rate_limit_per_frequency is None):
            raise ValueError(
                "rate_limit_frequency_in_seconds and rate_limit_per_frequency must be configured together"
            )
        return self


class PublishBudget(SpecModel):
    """The parts of the time between the end of a body and Conductor's answer to its result, in seconds."""

    model_config = ConfigDict(frozen=True)

    observed_merge_p99_seconds: int = Field(ge=0)
    """Measured 99th percentile of a merge."""
    safety_margin_seconds: int = Field(ge=0)
    """Added to the measured merge time."""
    lakefs_merge_timeout_seconds: int = Field(ge=1)
    """Time limit of the merge request; at least the sum of the two above."""
    conductor_completion_timeout_seconds: int = Field(ge=1)
    """Time that the report of the result may take."""
    worker_shutdown_grace_seconds: int = Field(ge=1)
    """Time that a stopping worker leaves its attempts."""
    heartbeat_interval_seconds: int = Field(ge=1)
    """Time between two signs of life."""

    @model_validator(mode="after")
    def _check_merge_timeout(self) -> PublishBudget:
        if self.lakefs_merge_timeout_seconds < self.observed_merge_p99_seconds + self.safety_margin_seconds:
            raise ValueError(
                "lakefs_merge_timeout_seconds must be >= observed_merge_p99_seconds + safety_margin_seconds"
            )
        return self

    @property
    def response_timeout_seconds(self) -> int:
        """The lease that this budget needs."""
        return (
            self.lakefs_merge_timeout_seconds
            + self.conductor_completion_timeout_seconds
            + self.worker_shutdown_grace_seconds
            + self.heartbeat_interval_seconds
        )


class TaskControls(SpecModel):
    """How Conductor treats a task."""

    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    """Retries after a failed attempt."""
    timeout: TimeoutPolicy = Field(default_factory=TimeoutPolicy)
    """Timeouts and what follows them."""
    limits: ExecutionLimits = Field(default_factory=ExecutionLimits)
    """Concurrency and rate limits."""
    publish_budget: PublishBudget | None = None
    """How long a publication may take; for workspace tasks only."""

    @property
    def response_timeout_seconds(self) -> int:
        """The lease that Conductor grants: always the timeout's, never the budget's."""
        return self.timeout.response_seconds


_Bound = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class MetricSpec(SpecModel):
    """Switches of the built-in metrics, which do not affect the body's own, and bounds of buckets."""

    model_config = ConfigDict(frozen=True)

    attempts: bool = True
    """Records ``runtime.task_attempt_duration_seconds``."""
    workspace_io: bool = True
    """Records ``runtime.workspace_io_duration_seconds`` and ``runtime.workspace_io_bytes``."""
    worker_capacity: bool = True
    """Records ``runtime.busy_slots``."""
    buckets: dict[str, list[_Bound]] = Field(default_factory=dict)
    """Upper bounds of buckets by the histogram's name: the one that the body writes, or a built-in one."""

    def __hash__(self) -> int:
        buckets = tuple((name, tuple(bounds)) for name, bounds in sorted(self.buckets.items()))
        return hash((self.attempts, self.workspace_io, self.worker_capacity, buckets))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [pair for pair in super().__repr_args__() if pair != ("buckets", {})]

    @model_serializer(mode="wrap")
    def _leave_out_no_buckets(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = serialize(self)
        if not self.buckets:
            written.pop("buckets", None)
        return written


class WorkspaceSpec(SpecModel):
    """Which part of a repository a task sees as its directory, and what must hold there."""

    model_config = ConfigDict(frozen=True)

    prefix: str = "/"
    """Part of the repository; ``/`` is all of it."""
    pre: list[_WorkspaceGuardrail] = Field(default_factory=list)
    """Checked before the body."""
    post: list[_WorkspaceGuardrail] = Field(default_factory=list)
    """Checked after the body."""
    read_only: bool = False
    """Nothing is published."""
    on_moved_head: Literal["fail", "merge"] = "fail"
    """What happens when somebody else has committed to the branch since the input commit.

    ``fail`` fails the attempt and names the other commit; ``merge`` keeps both as long as no file was changed
    twice.
    """

    @field_validator("prefix")
    @classmethod
    def _normalise_prefix(cls, value: str) -> str:
        from perago._native import workspace_prefix

        return workspace_prefix(value)


class WorkspaceRef(BaseModel):
    """A commit of a repository, as it travels between tasks."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    repository: str = Field(min_length=1)
    """Name of the repository."""
    branch: str = Field(min_length=1)
    """Branch that a result is published to."""
    refType: Literal["commit"]
    """What ``ref`` is; only commits are pinned."""
    ref: str = Field(min_length=1)
    """The commit."""

    @field_validator("repository", "branch", "ref")
    @classmethod
    def _refuse_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value


class WorkspaceOutput(WorkspaceRef):
    """The workspace as a task left it."""


class WorkspaceInput(WorkspaceRef):
    """The workspace as a task gets it."""

    def published_output(self, ref: str) -> WorkspaceOutput:
        """Return the same repository and branch at the commit that was published."""
        return WorkspaceOutput(repository=self.repository, branch=self.branch, refType="commit", ref=ref)
