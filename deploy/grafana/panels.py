"""What the dashboards show: panels, their queries, and their words in English and Chinese."""

from __future__ import annotations

from dataclasses import dataclass

Text = tuple[str, str]
"""English, Chinese."""

WORKER = "service.instance.id, service_instance_id"
"""The label of a worker, in the store's two ways of naming."""
WORKER_LEGEND = "{{task_name}} {{service.instance.id}}{{service_instance_id}}"


@dataclass(frozen=True)
class Panel:
    """One panel: `unit` in Grafana's words, sizes in grid cells, thresholds for orange and red."""

    kind: str
    title: Text
    description: Text
    queries: list[tuple[str, Text]]
    unit: str = "short"
    width: int = 12
    height: int = 8
    thresholds: tuple[float, ...] = ()
    maximum: float | None = None

    @property
    def is_instant(self) -> bool:
        """Whether the panel shows one moment."""
        return self.kind == "table"


@dataclass(frozen=True)
class Variable:
    """A choice above the panels."""

    name: str
    label: Text
    query: str
    pattern: str = ""
    is_multiple: bool = False


def metric(name: str, *matchers: str) -> str:
    """Return the selector of a metric for the chosen tasks, in both of the store's ways of naming."""
    first, _, rest = name.partition(".")
    return "{" + ",".join([f'__name__=~"{first}[._]{rest}"', 'task_name=~"$task"', *matchers]) + "}"


def increase(name: str, *matchers: str) -> str:
    """Return the growth of a total over the interval of the panel."""
    return f"increase({metric(name, *matchers)}[$__rate_interval])"


def rate(name: str, *matchers: str) -> str:
    """Return the growth of a total per second."""
    return f"rate({metric(name, *matchers)}[$__rate_interval])"


def average(name: str, by: str) -> str:
    """Return the average of a histogram's values."""
    return f"sum by ({by}) ({rate(f'{name}_sum')}) / sum by ({by}) ({rate(f'{name}_count')})"


def quantile(value: float, name: str, by: str) -> str:
    """Return a quantile of a histogram, with fixed or exponential buckets."""
    return f"histogram_quantile({value}, sum by (le, vmrange, {by}) ({rate(f'{name}_bucket')}))"


def same(text: str) -> Text:
    """Return a text that is the same in both languages."""
    return (text, text)


TASK = same("{{task_name}}")
ATTEMPT = "runtime.task_attempt_duration_seconds"
IO_SECONDS = "runtime.workspace_io_duration_seconds"
IO_BYTES = "runtime.workspace_io_bytes"
STORED = '{__name__=~"app[._].+",__name__!~".+_(bucket|sum)",task_name=~"$task"}'
FAILED = 'outcome=~"failed|failed_terminally"'
CHOSEN = '{__name__="${metric}_%s",task_name=~"$task"}'

VARIABLES = [
    Variable(
        "task",
        ("Task", "Task"),
        'label_values({__name__=~"(app|runtime|perago)[._].+"}, task_name)',
        is_multiple=True,
    ),
    Variable(
        "metric",
        ("Histogram or timer of a body", "函数体的 histogram 或 timer"),
        'label_values({__name__=~"app[._].+_count",task_name=~"$task"}, __name__)',
        "/^(.*)_count$/",
    ),
    Variable(
        "gauge",
        ("Gauge of a body", "函数体的 gauge"),
        'label_values({__name__=~"app[._].+",__name__!~".+_(bucket|count|sum)"}, __name__)',
    ),
]

OVERVIEW = [
    Panel(
        "stat",
        ("Attempts per second", "每秒 attempt 数"),
        ("Attempts that ended, whatever their outcome.", "结束的 attempt，不论结局。"),
        [(f"sum({rate(f'{ATTEMPT}_count')})", same(""))],
        "ops",
        4,
        4,
    ),
    Panel(
        "stat",
        ("Failing attempts", "失败比例"),
        (
            "Share of attempts whose body or worker failed. Needs PERAGO_WORKER_METRICS=1.",
            "失败的 attempt 所占比例。需要 PERAGO_WORKER_METRICS=1。",
        ),
        [(f"sum({rate('perago.attempts_total', FAILED)}) / sum({rate('perago.attempts_total')})", same(""))],
        "percentunit",
        4,
        4,
        (0.05, 0.2),
        1,
    ),
    Panel(
        "stat",
        ("Busy slots", "占用的 slot"),
        ("Share of all slots that work on a task.", "正在执行任务的 slot 比例。"),
        [(f"sum({metric('perago.busy_slots')}) / sum({metric('perago.slots')})", same(""))],
        "percentunit",
        4,
        4,
        (0.8, 0.95),
        1,
    ),
    Panel(
        "stat",
        ("Workers", "worker 数"),
        ("Workers that push now.", "当前在推送指标的 worker。"),
        [(f"count({metric('perago.slots')})", same(""))],
        "short",
        4,
        4,
    ),
    Panel(
        "stat",
        ("Undelivered results", "未送达的结果"),
        (
            "Finished attempts whose result Conductor does not have yet.",
            "已完成但结果还没送达 Conductor 的 attempt。",
        ),
        [(f"sum({metric('perago.undelivered_results')})", same(""))],
        "short",
        4,
        4,
        (1, 10),
    ),
    Panel(
        "stat",
        ("Least free disk", "最小剩余磁盘"),
        ("The state directory with the least room left.", "剩余空间最少的状态目录。"),
        [(f"min({metric('perago.state_directory_free_bytes')})", same(""))],
        "bytes",
        4,
        4,
    ),
]

ATTEMPTS = [
    Panel(
        "timeseries",
        ("Attempts per second, by task", "每秒 attempt 数，按 task"),
        ("All outcomes.", "包含所有结局。"),
        [(f"sum by (task_name) ({rate(f'{ATTEMPT}_count')})", TASK)],
        "ops",
    ),
    Panel(
        "timeseries",
        ("Outcomes", "结局"),
        (
            "Attempts in each interval by outcome and failure code.",
            "每个间隔内的 attempt，按结局和失败代码。",
        ),
        [
            (
                f"sum by (outcome, failure_code) ({increase('perago.attempts_total')})",
                same("{{outcome}} {{failure_code}}"),
            )
        ],
    ),
    Panel(
        "timeseries",
        ("Duration of attempts: 50 %, 95 %", "attempt 时长：50 %、95 %"),
        (
            "From the receipt of a task to the end of its body, read from buckets: between two bounds.",
            "从收到任务到函数体结束。数值由分桶估算，落在两个边界之间。",
        ),
        [
            (quantile(0.5, ATTEMPT, "task_name"), same("{{task_name}} 50 %")),
            (quantile(0.95, ATTEMPT, "task_name"), same("{{task_name}} 95 %")),
        ],
        "s",
    ),
    Panel(
        "timeseries",
        ("Average duration of attempts", "attempt 平均时长"),
        ("Sum over count, exact.", "总和除以个数，是精确值。"),
        [(average(ATTEMPT, "task_name"), TASK)],
        "s",
    ),
]

CAPACITY = [
    Panel(
        "timeseries",
        ("Slots: busy and all", "slot：占用与总数"),
        ("Sums over all workers of a task.", "同一 task 所有 worker 之和。"),
        [
            (
                f"sum by (task_name) ({metric('perago.busy_slots')})",
                ("{{task_name}} busy", "{{task_name}} 占用"),
            ),
            (f"sum by (task_name) ({metric('perago.slots')})", ("{{task_name}} all", "{{task_name}} 总数")),
        ],
    ),
    Panel(
        "timeseries",
        ("Busiest instances", "最忙的实例"),
        (
            "The 20 instances with the most busy slots, by PERAGO_INSTANCE_ID (switch worker_capacity).",
            "占用 slot 最多的 20 个实例，按 PERAGO_INSTANCE_ID（开关 worker_capacity）。",
        ),
        [
            (
                f"topk_max(20, sum by (task_name, perago_instance_id) ({metric('runtime.busy_slots')}))",
                same("{{task_name}} {{perago_instance_id}}"),
            )
        ],
    ),
]

WORKSPACES = [
    Panel(
        "timeseries",
        ("Operations per second", "每秒操作数"),
        (
            "Downloads, uploads and publications of workspaces, failed ones too (switch workspace_io).",
            "workspace 的下载、上传与发布次数，失败的也算（开关 workspace_io）。",
        ),
        [
            (
                f"sum by (task_name, operation) ({rate(f'{IO_SECONDS}_count')})",
                same("{{task_name}} {{operation}}"),
            )
        ],
        "ops",
    ),
    Panel(
        "timeseries",
        ("Average duration by operation", "各操作的平均时长"),
        (
            "Download, upload and publish of workspaces (switch workspace_io).",
            "workspace 的下载、上传与发布（开关 workspace_io）。",
        ),
        [(average(IO_SECONDS, "task_name, operation"), same("{{task_name}} {{operation}}"))],
        "s",
    ),
    Panel(
        "timeseries",
        ("Bytes carried per second", "每秒传送的字节"),
        (
            "What operations carried for their attempts; a download counts its prefix, from the cache too.",
            "各操作为 attempt 传送的字节；下载按其前缀大小计，来自缓存的也算。",
        ),
        [
            (
                f"sum by (task_name, operation) ({rate(f'{IO_BYTES}_sum')})",
                same("{{task_name}} {{operation}}"),
            )
        ],
        "Bps",
    ),
    Panel(
        "timeseries",
        ("Where downloads came from", "下载的来源"),
        (
            "Bytes per second from the host's cache and over the network. Needs PERAGO_WORKER_METRICS=1.",
            "每秒从本机缓存和从网络取得的字节。需要 PERAGO_WORKER_METRICS=1。",
        ),
        [
            (
                f"sum by (task_name, source) ({rate('perago.workspace_bytes_total')})",
                same("{{task_name}} {{source}}"),
            )
        ],
        "Bps",
    ),
]

BODIES = [
    Panel(
        "timeseries",
        ("Samples per second: $metric", "每秒样本数：$metric"),
        ("How often bodies record it.", "函数体记录它的频率。"),
        [(f"sum by (task_name) (rate({CHOSEN % 'count'}[$__rate_interval]))", TASK)],
        "ops",
        8,
    ),
    Panel(
        "timeseries",
        ("Average: $metric", "平均值：$metric"),
        ("Sum over count, exact. A timer is in seconds.", "总和除以个数，是精确值。timer 的单位是秒。"),
        [
            (
                f"sum by (task_name) (rate({CHOSEN % 'sum'}[$__rate_interval]))"
                f" / sum by (task_name) (rate({CHOSEN % 'count'}[$__rate_interval]))",
                TASK,
            )
        ],
        "short",
        8,
    ),
    Panel(
        "timeseries",
        ("95 %: $metric", "95 %：$metric"),
        ("Read from buckets.", "由分桶估算。"),
        [
            (
                "histogram_quantile(0.95, sum by (le, vmrange, task_name)"
                f" (rate({CHOSEN % 'bucket'}[$__rate_interval])))",
                TASK,
            )
        ],
        "short",
        8,
    ),
    Panel(
        "timeseries",
        ("$gauge", "$gauge"),
        ("Smallest and largest over all workers.", "所有 worker 中的最小值和最大值。"),
        [
            (
                'min by (task_name) ({__name__="$gauge",task_name=~"$task"})',
                ("{{task_name}} smallest", "{{task_name}} 最小"),
            ),
            (
                'max by (task_name) ({__name__="$gauge",task_name=~"$task"})',
                ("{{task_name}} largest", "{{task_name}} 最大"),
            ),
        ],
        "short",
        24,
    ),
]

WORKERS = [
    Panel(
        "timeseries",
        ("Executors replaced", "更换的 executor"),
        ("By cause, in each interval.", "每个间隔内，按原因。"),
        [(f"sum by (cause) ({increase('perago.executor_restarts_total')})", same("{{cause}}"))],
        width=8,
    ),
    Panel(
        "timeseries",
        ("Failed polls and pushes", "失败的轮询与推送"),
        (
            "Of Conductor and of VictoriaMetrics. A push that fails loses no total.",
            "分别对 Conductor 与 VictoriaMetrics。推送失败不会丢累计值。",
        ),
        [
            (
                f"sum by (task_name) ({increase('perago.poll_errors_total')})",
                ("{{task_name}} polls", "{{task_name}} 轮询"),
            ),
            (
                f"sum by (task_name) ({increase('perago.failed_pushes_total')})",
                ("{{task_name}} pushes", "{{task_name}} 推送"),
            ),
        ],
        width=8,
    ),
    Panel(
        "timeseries",
        ("Dropped samples", "丢弃的样本"),
        (
            "What bodies recorded and could not be exported, by reason.",
            "函数体记录了但无法导出的样本，按原因。",
        ),
        [
            (
                f"sum by (task_name, reason) ({increase('perago.dropped_samples_total')})",
                same("{{task_name}} {{reason}}"),
            )
        ],
        width=8,
    ),
    Panel(
        "table",
        ("Least free disk", "剩余磁盘最少的 worker"),
        ("The 20 state directories with the least room.", "剩余空间最少的 20 个状态目录。"),
        [
            (
                f"bottomk(20, min by (task_name, {WORKER}) ({metric('perago.state_directory_free_bytes')}))",
                same(""),
            )
        ],
        "bytes",
        8,
    ),
    Panel(
        "table",
        ("Longest waiting results", "等待最久的结果"),
        ("The 20 workers with the oldest undelivered result.", "未送达结果最久的 20 个 worker。"),
        [
            (
                f"topk(20, max by (task_name, {WORKER})"
                f" ({metric('perago.oldest_undelivered_result_age_seconds')}))",
                same(""),
            )
        ],
        "s",
        8,
    ),
    Panel(
        "table",
        ("Versions", "版本"),
        ("Workers by version of Perago.", "各 Perago 版本的 worker 数。"),
        [
            (
                f"count by (version, operating_system, architecture) ({metric('perago.build_info')})",
                same(""),
            )
        ],
        width=8,
    ),
    Panel(
        "timeseries",
        ("Most replaced executors, by worker", "executor 更换最多的 worker"),
        ("The 20 workers that replaced the most.", "更换最多的 20 个 worker。"),
        [
            (
                f"topk_max(20, sum by (task_name, {WORKER}) ({increase('perago.executor_restarts_total')}))",
                same(WORKER_LEGEND),
            )
        ],
    ),
    Panel(
        "timeseries",
        ("Stored series of bodies, by metric", "函数体指标占用的 series，按指标"),
        (
            "The 20 metrics with the most series; must not grow with attempts. Overflow: a worker has"
            " reached its cap on label sets.",
            "series 最多的 20 个指标；不应随 attempt 增长。"
            "出现 overflow 说明某个 worker 的 label 组合已到上限。",
        ),
        [
            (
                f"topk_max(20, count by (__name__) ({STORED}))",
                same("{{__name__}}"),
            ),
            (
                'count by (task_name) ({otel.metric.overflow="true" or otel_metric_overflow="true"})',
                ("overflow {{task_name}}", "overflow {{task_name}}"),
            ),
        ],
    ),
]

ROWS: list[tuple[Text, list[Panel]]] = [
    (("Overview", "总览"), OVERVIEW),
    (("Attempts", "Attempt"), ATTEMPTS),
    (("Capacity", "容量"), CAPACITY),
    (("Workspaces", "Workspace"), WORKSPACES),
    (("Metrics of bodies", "函数体的指标"), BODIES),
    (("Workers", "Worker"), WORKERS),
]
