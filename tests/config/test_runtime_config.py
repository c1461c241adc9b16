"""The configuration as a whole."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

import perago
from perago import config
from perago.config import ConductorConfig, LakeFSConfig, MetricsConfig, RuntimeConfig
from perago.errors import RuntimeConfigError

ENDPOINT = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://metrics/v1/metrics"}
LAKEFS = {
    "LAKECTL_SERVER_ENDPOINT_URL": "http://lakefs",
    "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "AKIA",
    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "hunter2",
}


def load(tmp_path: Path, env: dict[str, str] | None = None, *, probe_roots: bool = False) -> RuntimeConfig:
    return perago.load_runtime_config(
        "app.demo_mix", cwd=tmp_path, process_env=env or {}, probe_roots=probe_roots
    )


def test_defaults(tmp_path: Path) -> None:
    assert load(tmp_path) == RuntimeConfig(
        workspace_root=config.DEFAULT_WORKSPACE_ROOT,
        log_root=config.DEFAULT_LOG_ROOT,
        log_file_max_size=100 * 1024 * 1024,
        log_retention=timedelta(days=30),
        worker_id_prefix="appdemomix",
    )


def test_an_empty_process_environment_is_really_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERAGO_WORKER_ID_PREFIX", "fromprocess")
    assert load(tmp_path).worker_id_prefix == "appdemomix"
    read = perago.load_runtime_config("app.demo_mix", cwd=tmp_path, probe_roots=False)
    assert read.worker_id_prefix == "fromprocess"


def test_every_setting(tmp_path: Path) -> None:
    read = load(
        tmp_path,
        {
            "CONDUCTOR_SERVER_URL": " http://conductor/api ",
            "PERAGO_WORKSPACE_ROOT": "workspaces",
            "PERAGO_LOG_ROOT": "~/logs",
            "PERAGO_LOG_FILE_MAX_SIZE": "1KB",
            "PERAGO_LOG_RETENTION": "2d",
            "PERAGO_WORKER_ID_PREFIX": " mix ",
            "PERAGO_EXECUTION_MODE": "THREAD",
            "PERAGO_WORKSPACE_GC_TTL": "2h",
            "PERAGO_WORKSPACE_GC_INTERVAL": "3m",
            "PERAGO_SHUTDOWN_FORCE_KILL_AFTER": "4s",
            "PERAGO_FAILURE_REASON_MAX_LENGTH": "20",
            "PERAGO_INSTANCE_ID": "mix-1",
            "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "GZIP",
            "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "5000",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "authorization=Bearer%20hunter2",
            "OTEL_SERVICE_NAME": "mixer",
            "OTEL_RESOURCE_ATTRIBUTES": "team=audio",
            **ENDPOINT,
            **LAKEFS,
        },
    )
    assert read.conductor == ConductorConfig(server_url="http://conductor/api")
    assert (read.workspace_root, read.log_root) == (Path("workspaces"), Path("~/logs"))
    assert (read.log_file_max_size, read.log_retention) == (1024, timedelta(days=2))
    assert (read.worker_id_prefix, read.execution_mode) == ("mix", "thread")
    assert (read.workspace_gc_ttl, read.workspace_gc_interval) == (timedelta(hours=2), timedelta(minutes=3))
    assert (read.shutdown_force_kill_after, read.failure_reason_max_length) == (timedelta(seconds=4), 20)
    assert read.lakefs is not None
    assert read.lakefs.secret_access_key.get_secret_value() == "hunter2"
    assert read.metrics is not None
    assert (read.metrics.compression, read.metrics.timeout_millis) == ("gzip", 5000)
    assert (read.metrics.export_interval_millis, read.metrics.instance_id) == (1000, "mix-1")
    assert (read.metrics.service_name, read.metrics.resource_attributes) == ("mixer", {"team": "audio"})
    assert read.metrics.headers["authorization"].get_secret_value() == "Bearer hunter2"
    for shown in (repr(read), str(read), read.model_dump_json()):
        assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("name", "value", "keyword"),
    [
        ("CONDUCTOR_SERVER_URL", "replace-me", "must be replaced with a real value"),
        ("PERAGO_WORKSPACE_ROOT", "", "must not be empty"),
        ("PERAGO_LOG_ROOT", "", "must not be empty"),
        ("PERAGO_LOG_FILE_MAX_SIZE", "0MB", "greater than zero"),
        ("PERAGO_LOG_RETENTION", "30", "PERAGO_LOG_RETENTION"),
        ("PERAGO_WORKER_ID_PREFIX", "", "must not be empty"),
        ("PERAGO_WORKER_ID_PREFIX", "a-b", "letters and digits"),
        ("PERAGO_EXECUTION_MODE", "fork", "process or thread"),
        ("PERAGO_WORKSPACE_GC_TTL", "soon", "duration"),
        ("PERAGO_WORKSPACE_GC_INTERVAL", "0h", "duration"),
        ("PERAGO_SHUTDOWN_FORCE_KILL_AFTER", "1", "duration"),
        ("PERAGO_FAILURE_REASON_MAX_LENGTH", "x", "positive integer"),
        ("PERAGO_FAILURE_REASON_MAX_LENGTH", "0", "greater than zero"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "zstd", "gzip or none"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "1s", "positive integer"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "greater than zero"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc", "is not supported"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta", "is not supported"),
        ("PERAGO_INSTANCE_ID", "a b", "letters"),
        ("PERAGO_POLL_TIMEOUT", "6s", "longer than 5s"),
        ("PERAGO_LEASE_POLICY", "loose", "lapse or strict"),
        ("PERAGO_LOG", "syslog", "file or stdout"),
    ],
)
def test_each_rule_names_its_variable(tmp_path: Path, name: str, value: str, keyword: str) -> None:
    with pytest.raises(RuntimeConfigError, match=keyword) as caught:
        load(tmp_path, {**ENDPOINT, name: value})
    assert name in str(caught.value)
    assert caught.value.code.startswith("PERAGO-CONFIG-")


def test_metrics_variables_need_an_endpoint(tmp_path: Path) -> None:
    env = {"OTEL_METRIC_EXPORT_INTERVAL": "never", "PERAGO_INSTANCE_ID": "a b", "OTEL_SERVICE_NAME": "mixer"}
    assert load(tmp_path, env).metrics is None


def test_lakefs_is_all_or_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeConfigError) as caught:
        load(tmp_path, {"LAKECTL_SERVER_ENDPOINT_URL": "http://lakefs"})
    assert str(caught.value) == (
        "LakeFS config is incomplete; missing LAKECTL_CREDENTIALS_ACCESS_KEY_ID, "
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"
    )
    with pytest.raises(RuntimeConfigError, match="LAKECTL_SERVER_ENDPOINT_URL"):
        config.parse_lakefs_config({**LAKEFS, "LAKECTL_SERVER_ENDPOINT_URL": "replace-me"})
    assert config.parse_lakefs_config({}) is None


def test_parts_on_their_own() -> None:
    assert config.parse_conductor_config({"CONDUCTOR_SERVER_URL": " "}) is None
    assert config.parse_metrics_config(ENDPOINT) == MetricsConfig(endpoint="http://metrics/v1/metrics")
    general = config.parse_metrics_config({**ENDPOINT, "OTEL_EXPORTER_OTLP_TIMEOUT": "7"})
    assert general is not None
    assert general.timeout_millis == 7


def test_half_of_the_credentials_is_refused(tmp_path: Path) -> None:
    env = {"CONDUCTOR_SERVER_URL": "http://c/api", "CONDUCTOR_AUTH_KEY": "key"}
    with pytest.raises(RuntimeConfigError, match="missing CONDUCTOR_AUTH_SECRET"):
        load(tmp_path, env)


def test_roots_are_probed_when_asked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    env = {"PERAGO_WORKSPACE_ROOT": str(tmp_path / "w"), "PERAGO_LOG_ROOT": str(tmp_path / "file")}
    load(tmp_path, env)
    assert not (tmp_path / "w").exists()
    with pytest.raises(RuntimeConfigError, match="file is not writable: ") as caught:
        load(tmp_path, env, probe_roots=True)
    assert "PERAGO_LOG_ROOT" in (caught.value.hint or "")
    assert (tmp_path / "w").is_dir()


def test_models_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError):
        ConductorConfig.model_validate({"server_url": "x", "other": 1})
    lakefs = LakeFSConfig.model_validate(
        {"endpoint_url": "x", "access_key_id": "k", "secret_access_key": "s"}
    )
    with pytest.raises(ValidationError):
        lakefs.endpoint_url = "y"


def test_variables_that_are_not_utf8_do_no_harm(tmp_path: Path) -> None:
    assert load(tmp_path, {"ODD": "a\udcff"}).worker_id_prefix == "appdemomix"
