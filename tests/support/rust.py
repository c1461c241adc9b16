"""The binaries of tasks in Rust that the suites run, of `crates/perago-suite` and of `examples/rust`."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def rust_program(name: str, package: str = "perago-suite") -> Path:
    """Return the path of a binary, built for release unless `SUITE_RUST_PROFILE` names another profile."""
    build = ["cargo", "build", "--quiet", "--profile", profile(), "-p", package, "--bin", name]
    subprocess.run(build, cwd=ROOT, check=True)
    return target_directory() / profile_folder() / name


@functools.cache
def target_directory() -> Path:
    """Return where cargo puts what it builds."""
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=ROOT, check=True, capture_output=True
    )
    return Path(json.loads(metadata.stdout)["target_directory"])


def profile() -> str:
    """Return the profile to build with."""
    return os.environ.get("SUITE_RUST_PROFILE", "release")


def profile_folder() -> str:
    """Return the folder of the target directory that the profile builds into."""
    return "debug" if profile() == "dev" else profile()
