"""Every benchmark that needs no real service, in short form; the long form of each stands in its header.

make bench                      or, beside the peer:
.venv/bin/python bench/run.py --peer PEER_VENV/bin/perago
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from common import parser

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the scripts one after the other; return the first exit code that is not 0."""
    arguments = parser(__doc__ or "")
    options = arguments.parse_args()
    peer = ["--peer", str(options.peer)] if options.peer else []
    steps = [
        ["cli.py", *peer],
        ["idle.py", "--seconds", "60", "--rust", *peer],
        ["stop.py", "--stops", "20", "--kills", "5"],
        ["slot_recovery.py", "--kills", "10"],
        ["throughput.py", "--pairs", "3", "--tasks", "2000", "--rust"],
        ["rust.py"],
        ["recorder.py", *peer],
        ["export.py"],
        ["workspace.py", "--rounds", "2", *peer],
        ["metric_kills.py", "--minutes", "1", "--kills", "60", "--supervisor-kills", "3"],
        ["soak.py", "--hours", "0.05", "--kill-every", "30"],
    ]
    for step in steps:
        print(f"## bench/{' '.join(step)}", flush=True)
        code = subprocess.run([sys.executable, str(HERE / step[0]), *step[1:]], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
