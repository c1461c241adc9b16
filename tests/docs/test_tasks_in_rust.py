"""What the guide to tasks in Rust tells its reader to do, done: from `cargo new` to a completed task."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from support.command import environment
from support.rust import profile, profile_folder, target_directory

from . import pages
from .test_readme import Command, commands, free_address, keys, script

PAGE = pages.GUIDES / "en" / "tasks-in-rust.md"
FIRST = ["cargo new count-words", "cd count-words"]
CHECKOUT = "../perago/"
MOST_LINES = 30


def files() -> dict[str, str]:
    """The files of the project: the first block of each language."""
    named = {"src/main.rs": "rust", "Cargo.toml": "toml", "count_words.workflow.json": "json"}
    return {name: pages.blocks(PAGE, language)[0].text for name, language in named.items()}


def test_it_takes_few_lines() -> None:
    assert sum(text.count("\n") for text in files().values()) < MOST_LINES


@pytest.mark.parametrize("language", pages.LANGUAGES)
def test_the_profile_for_small_binaries_is_the_one_that_is_measured(language: str) -> None:
    told = [block.text for block in pages.blocks(pages.GUIDES / language / PAGE.name, "toml")]
    shown = tomllib.loads(next(text for text in told if "[profile.dist]" in text))["profile"]
    ours = tomllib.loads((pages.ROOT / "Cargo.toml").read_text(encoding="utf-8"))["profile"]
    assert shown == {"dist": {**ours["dist"], "strip": ours["release"]["strip"]}}


def settings() -> str:
    """The settings of cargo: what was compiled for the suites is used, our own crates are not optimised."""
    manifest = (pages.ROOT / "Cargo.toml").read_text(encoding="utf-8")
    own = sorted(path.parent.name for path in (pages.ROOT / "crates").glob("*/Cargo.toml"))
    quick = [f"[profile.{profile()}.package.{name}]\nopt-level = 0\n" for name in own]
    return "\n".join(["[net]\noffline = true\n", manifest[manifest.index("[profile.release]") :], *quick])


@pytest.fixture
def project() -> Path:
    """Where the project will be: always the same place, so that cargo knows it again."""
    root = target_directory() / "guide"
    shutil.rmtree(root, ignore_errors=True)
    (root / ".cargo").mkdir(parents=True)
    (root / ".cargo/config.toml").write_text(settings(), encoding="utf-8")
    return root / "count-words"


def as_built(text: str) -> str:
    """A command for the profile that the suites are built with."""
    text = text.replace("target/release/", f"target/{profile_folder()}/")
    return text.replace("cargo build --release", f"cargo build --profile {profile()}")


# It compiles our crates: a minute on a machine of its own, many on a busy one.
@pytest.mark.timeout(1300)
@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")
def test_from_cargo_new_to_a_completed_task(project: Path, tmp_path: Path) -> None:
    told = commands(PAGE)
    assert [command.text for command in told[:2]] == FIRST
    variables = environment(tmp_path)
    for name, folder in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")):
        variables[name] = os.environ.get(name, str(Path.home() / folder))
    subprocess.run(FIRST[0].split(), cwd=tmp_path, env=variables, capture_output=True, check=True)
    # Made elsewhere: inside the checkout it would become a part of the checkout's workspace.
    shutil.move(tmp_path / project.name, project)
    made = (project / "Cargo.toml").read_text(encoding="utf-8")
    for name, text in files().items():
        if name == "Cargo.toml":
            head, last, nothing = made.rpartition("[dependencies]\n")
            assert (last, nothing) == ("[dependencies]\n", "")
            assert CHECKOUT in text
            text = head + text.replace(CHECKOUT, f"{pages.ROOT}/")
        (project / name).write_text(text, encoding="utf-8")
    # Compiled before, for the workspace: the same versions, and the same place.
    shutil.copy(pages.ROOT / "Cargo.lock", project)
    (project / "target").symlink_to(target_directory())

    rest = [Command(as_built(command.text), command.shown) for command in told[2:]]
    done = subprocess.run(
        ["bash", "-c", script(rest, free_address())],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = ""
    for number, command in enumerate(rest):
        path = project / f"{number}.out"
        output = path.read_text(encoding="utf-8") if path.exists() else ""
        assert set(keys(command.shown)) <= set(keys(output.splitlines())), command.text
        answers += output
    assert '"words":3' in answers.replace(" ", "")
    assert '"COMPLETED"' in answers
