"""The ``.env`` file: its grammar and how unreadable files are reported."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.config import load_runtime_config, load_runtime_env, read_dotenv
from perago.errors import RuntimeConfigError


def read(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / ".env"
    path.write_bytes(text.encode())
    return read_dotenv(path)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("K=v", "v"),
        ("  K = v w  ", "v w"),
        ("export K=v", "v"),
        ('K="v"', "v"),
        ("K=' v '", " v "),
        ("K=\"v'", "\"v'"),
        ("K=", ""),
        ("K=a=b", "a=b"),
        ("K=1 # c", "1 # c"),
        ("K=${HOME}\\n", "${HOME}\\n"),
        ("\ufeffK=v", "v"),
        ("K=1\nK=2", "2"),
        ("K=1\r\nL=2", "1"),
    ],
)
def test_grammar(tmp_path: Path, line: str, value: str) -> None:
    assert read(tmp_path, line)["K"] == value


@pytest.mark.parametrize("line", ["", "K", "# K=v", "exportK=v", "=v"])
def test_lines_without_a_variable(tmp_path: Path, line: str) -> None:
    assert "K" not in read(tmp_path, line)


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert read_dotenv(tmp_path / ".env") == {}


def test_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(RuntimeConfigError, match=r"\.env is a directory") as caught:
        load_runtime_config("app.task", cwd=tmp_path, process_env={}, probe_roots=False)
    assert caught.value.hint
    assert caught.value.code == "PERAGO-CONFIG-DOTENV"


def test_what_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=1\nB=\xe9\n")
    with pytest.raises(RuntimeConfigError, match=r"\.env is not UTF-8 \(line 2\)"):
        load_runtime_config("app.task", cwd=tmp_path, process_env={}, probe_roots=False)


def test_the_process_environment_wins() -> None:
    assert load_runtime_env({"A": "process"}, {"A": "file", "B": "file"}) == {"A": "process", "B": "file"}


def test_values_do_not_reach_the_process_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv("PERAGO_WORKER_ID_PREFIX", raising=False)
    (tmp_path / ".env").write_text("PERAGO_WORKER_ID_PREFIX=fromfile\n")
    config = load_runtime_config("app.task", cwd=tmp_path, probe_roots=False)
    assert config.worker_id_prefix == "fromfile"
    assert "PERAGO_WORKER_ID_PREFIX" not in os.environ


@given(value=st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])))
def test_quoted_values_come_back(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    assert read(tmp_path_factory.mktemp("dotenv"), f'K="{value}"') == {"K": value}
