"""The binaries of tasks in Rust that the suites run: workers of `crates/perago-suite`."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def rust_program(name: str) -> Path:
    """Return the path of a binary, built for release unless `SUITE_RUST_PROFILE` names another profile."""
    profile = os.environ.get("SUITE_RUST_PROFILE", "release")
    build = ["cargo", "build", "--quiet", "--profile", profile, "-p", "perago-suite", "--bin", name]
    subprocess.run(build, cwd=ROOT, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=ROOT, check=True, capture_output=True
    )
    folder = "debug" if profile == "dev" else profile
    return Path(json.loads(metadata.stdout)["target_directory"]) / folder / name
