"""The console script: hands the command line to Rust.

Nothing is imported here that the command does not need; the author's module is imported by a child process.
"""

from __future__ import annotations

import sys

from perago._native import run_command_line


def main() -> int:
    """Run one command line.

    Returns:
        The exit code: 0 done, 1 something given cannot be used, 2 wrong usage, 3 a fault of ours, 4 stopped
        by force.

    """
    arguments = ["perago", *sys.argv[1:]]
    return run_command_line(arguments, sys.executable)


if __name__ == "__main__":
    sys.exit(main())
