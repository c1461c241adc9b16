"""The binaries of tasks in Rust that the suites run, of `crates/perago-suite` and of `examples/rust`."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


PACKAGES = ("perago-suite", "perago-examples")
# One command for all, so that what they have in common is compiled once.
BUILD = ("cargo", "build", "--quiet", "--bins", *(word for name in PACKAGES for word in ("-p", name)))


@functools.cache
def rust_program(name: str, optimised: bool = False) -> Path:
    """Return the path of a binary.

    It is built for release, or for what `SUITE_RUST_PROFILE` names; our own code quickly unless it is
    to be `optimised`.
    """
    build(optimised)
    return target_directory() / profile_folder() / name


@functools.cache
def build(optimised: bool = False) -> None:
    """Build all binaries, where they are not up to date."""
    quick = () if optimised else ("--config", "tests/unoptimised.toml")
    subprocess.run([*BUILD, "--profile", profile(), *quick], cwd=ROOT, check=True)


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


if __name__ == "__main__":
    build()
