"""Checks of the tree itself: sizes of files, directions of dependencies, licences and sources of crates.

Run by ``make lint``. The lists of licences and banned crates are those of ``deny.toml``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 800
SOURCE = {".rs", ".py", ".pyi", ".toml", ".md", ".yml", ".json", ".sh", ""}

# What each crate may use of the others; ARCHITECTURE.md explains it.
MAY_USE = {
    "perago-contract": set(),
    "perago-metrics": set(),
    "perago-otlp": {"perago-http", "perago-metrics"},
    "perago-http": set(),
    "perago-conductor": {"perago-http"},
    "perago-lakefs": {"perago-http"},
    "perago-workspace": {"perago-contract"},
    "perago-worker": {
        "perago-contract",
        "perago-metrics",
        "perago-otlp",
        "perago-conductor",
        "perago-lakefs",
        "perago-workspace",
    },
    "perago-dev": set(),
    "perago-macros": {"perago-contract"},
    "perago": {
        "perago-contract",
        "perago-conductor",
        "perago-dev",
        "perago-lakefs",
        "perago-macros",
        "perago-metrics",
        "perago-worker",
        "perago-workspace",
    },
    "perago-python": {"perago", "perago-contract", "perago-metrics", "perago-worker", "perago-workspace"},
    "perago-suite": {"perago"},
    "perago-examples": {"perago"},
}
# The pure centre: no runtime, no network, no interpreter.
PURE = {"perago-contract", "perago-metrics"}
IMPURE = {"tokio", "reqwest", "hyper", "axum", "pyo3"}


def tracked_files() -> list[Path]:
    """The files of the checkout that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def long_files(files: list[Path]) -> list[str]:
    """Source files that nobody can read at one sitting."""
    problems = []
    for path in files:
        if path.suffix in {".rs", ".py", ".pyi"}:
            lines = path.read_text(encoding="utf-8").count("\n")
            if lines > MOST_LINES:
                problems.append(f"{path.relative_to(ROOT)} has {lines} lines, more than {MOST_LINES}")
    return problems


def machine_paths(files: list[Path]) -> list[str]:
    """Absolute paths of somebody's machine."""
    pattern = re.compile(r"(?<![\w./-])/(?:work|root|home/\w+|Users/\w+)/\w")
    problems = []
    for path in files:
        if path.suffix in SOURCE and path.name != "Cargo.lock" and path != Path(__file__).resolve():
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1):
                if pattern.search(line):
                    problems.append(f"{path.relative_to(ROOT)}:{number} holds a path of a machine")
    return problems


def metadata() -> dict[str, Any]:
    """What cargo knows about the workspace and its dependencies."""
    command = ["cargo", "metadata", "--format-version=1", "--locked"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    return dict(json.loads(output))


def wrong_directions(packages: list[dict[str, Any]]) -> list[str]:
    """Dependencies between our crates that the architecture does not allow."""
    problems = []
    own = {package["name"]: package for package in packages if package["source"] is None}
    for name, package in own.items():
        if name not in MAY_USE:
            problems.append(f"crate {name} is not in the table of tests/structure.py")
            continue
        used = {entry["name"] for entry in package["dependencies"] if entry["kind"] is None}
        problems += [f"{name} must not use {other}" for other in sorted((used & own.keys()) - MAY_USE[name])]
        if name in PURE:
            problems += [f"{name} is pure and must not use {other}" for other in sorted(used & IMPURE)]
        if name != "perago-python" and "pyo3" in used:
            problems.append(f"only perago-python may use pyo3, not {name}")
    return problems


def slow_test_builds(packages: list[dict[str, Any]]) -> list[str]:
    """What would make `make test-rust` compile far more than our own crates."""
    own = {package["name"]: package for package in packages if package["source"] is None}
    settings = tomllib.loads((ROOT / "tests/unoptimised.toml").read_text(encoding="utf-8"))
    problems = [
        f"tests/unoptimised.toml and the workspace differ in {name}"
        for name in sorted(settings["profile"]["release"]["package"].keys() ^ own.keys())
    ]
    # A macro is built for the compiler's own platform, and all that its tests use a second time with it.
    used = {entry["name"] for entry in own["perago-macros"]["dependencies"] if entry["kind"] == "dev"}
    problems += [f"tests of perago-macros must not use {name}: perago-suite may" for name in sorted(used)]
    return problems


def refused_crates(packages: list[dict[str, Any]]) -> list[str]:
    """Crates from elsewhere than the registry, banned ones, and licences that are not allowed."""
    rules = tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))
    allowed = set(rules["licenses"]["allow"])
    banned = {entry["name"] for entry in rules["bans"]["deny"]}
    problems = []
    for package in packages:
        label = f"{package['name']} {package['version']}"
        if package["source"] is None:
            continue
        if not package["source"].startswith("registry+"):
            problems.append(f"{label} does not come from the registry")
        if package["name"] in banned:
            problems.append(f"{label} is banned")
        if not licence_is_allowed(package["license"] or "", allowed):
            problems.append(f"{label} has the licence {package['license']!r}")
    return problems


def licence_is_allowed(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be met with allowed licences alone.

    Understands OR, AND, parentheses and the old slash for OR, which is what crates use.
    """
    expression = expression.replace("/", " OR ").strip()
    if not expression:
        return False
    tokens = re.findall(r"\(|\)|[^\s()]+(?: WITH [^\s()]+)?", expression)
    truth = {"(": "(", ")": ")", "OR": "or", "AND": "and"}
    return bool(eval(" ".join(truth.get(token, str(token in allowed)) for token in tokens)))


def main() -> int:
    """Print every problem and return the exit code."""
    files = tracked_files()
    packages = metadata()["packages"]
    problems = [
        *long_files(files),
        *machine_paths(files),
        *wrong_directions(packages),
        *slow_test_builds(packages),
        *refused_crates(packages),
    ]
    for problem in problems:
        print(f"structure: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
