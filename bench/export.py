"""Processor time of one export of metrics, and what a recorder notices of exports; builds it in Rust.

.venv/bin/python bench/export.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from common import parser


def main() -> int:
    """Run the benchmark of the export crate; return its exit code."""
    parser(__doc__ or "").parse_args()
    command = [os.environ.get("CARGO", "cargo"), "bench", "--quiet", "-p", "perago-otlp", "--bench", "export"]
    return subprocess.run(command, cwd=Path(__file__).resolve().parent.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
