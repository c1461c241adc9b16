"""Runs `features_build` once: a repository with files, the task and a workflow, a worker, a run.

python run_features_build.py    against `perago dev` on its usual port, or the servers that the variables name
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DEV = "http://127.0.0.1:8080"
DEFAULTS = {
    "CONDUCTOR_SERVER_URL": f"{DEV}/api",
    "LAKECTL_SERVER_ENDPOINT_URL": DEV,
    "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "perago-dev",
    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "perago-dev",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{DEV}/opentelemetry/v1/metrics",
    "PERAGO_INSTANCE_ID": "example",
}
SETTINGS = {name: os.environ.get(name, default) for name, default in DEFAULTS.items()}
ENVIRONMENT = {**os.environ, **SETTINGS}
# Where the objects of the new repository lie: for a lakeFS of your own, a place that it may write to.
NAMESPACE = os.environ.get("EXAMPLE_STORAGE_NAMESPACE", "s3://example")
PERAGO = [sys.executable, "-m", "perago"]


def call(url: str, method: str, body: object = None, **headers: str) -> Any:
    """Send JSON, or bytes as they are; return what the server answers."""
    is_bytes = isinstance(body, bytes)
    data = body if is_bytes or body is None else json.dumps(body).encode()
    if not is_bytes:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    return json.loads(text) if text.startswith(("{", "[")) else text


def lakefs(method: str, path: str, body: object = None) -> Any:
    """Call the lakeFS server."""
    base = SETTINGS["LAKECTL_SERVER_ENDPOINT_URL"].rstrip("/").removesuffix("/api/v1")
    key, secret = (SETTINGS[f"LAKECTL_CREDENTIALS_{part}"] for part in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    pair = base64.b64encode(f"{key}:{secret}".encode()).decode()
    return call(f"{base}/api/v1{path}", method, body, Authorization=f"Basic {pair}")


def conductor(method: str, path: str, body: object = None) -> Any:
    """Call the Conductor server."""
    return call(SETTINGS["CONDUCTOR_SERVER_URL"] + path, method, body)


def repository_with_files() -> dict[str, str]:
    """Make a repository with some files in one commit; return what a task gets as its workspace."""
    name = f"example-{uuid.uuid4().hex[:8]}"
    lakefs("POST", "/repositories", {"name": name, "storage_namespace": f"{NAMESPACE}/{name}"})
    for number in range(3):
        path = urllib.parse.quote(f"audio/render/raw/{number}.parquet", safe="")
        content = b"not a real table " * 100
        lakefs("POST", f"/repositories/{name}/branches/main/objects?path={path}", content)
    commit = lakefs("POST", f"/repositories/{name}/branches/main/commits", {"message": "add raw files"})
    print(f"lakefs://{name}/main has three files in commit {commit['id'][:12]}")
    return {"repository": name, "branch": "main", "refType": "commit", "ref": commit["id"]}


def register(folder: Path) -> None:
    """Register what `perago extract` writes, and a workflow of one step."""
    path = folder / "features.build.json"
    command = [*PERAGO, "extract", "features_build", "-o", str(path)]
    subprocess.run(command, cwd=HERE, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)
    conductor("POST", "/metadata/taskdefs", [json.loads(path.read_text(encoding="utf-8"))])
    step = {
        "name": "features.build",
        "taskReferenceName": "features",
        "type": "SIMPLE",
        "inputParameters": {
            "workspace": "${workflow.input.workspace}",
            "params": {"feature_set": "all"},
        },
    }
    workflow = {"name": "features", "version": 1, "schemaVersion": 2, "ownerEmail": "data@example.com"}
    conductor("PUT", "/metadata/workflow", [{**workflow, "tasks": [step]}])


def main() -> int:
    """Run the example; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = repository_with_files()
        register(Path(folder))
        command = [*PERAGO, "start", "features_build"]
        places = {"PERAGO_WORKSPACE_ROOT": f"{folder}/workspaces", "PERAGO_STATE_DIR": f"{folder}/state"}
        with subprocess.Popen(command, cwd=HERE, env={**ENVIRONMENT, **places}) as worker:
            try:
                run = conductor("POST", "/workflow/features", {"workspace": workspace})
                print(f"workflow {run} runs")
                while worker.poll() is None:
                    shown = conductor("GET", f"/workflow/{run}?includeTasks=true")
                    if shown["status"] != "RUNNING":
                        break
                    time.sleep(0.1)
                else:
                    return 1
            finally:
                worker.terminate()
    task = shown["tasks"][-1]
    output = task["outputData"]
    print(f"{shown['status']}: {output.get('result') or task.get('reasonForIncompletion')}")
    if shown["status"] != "COMPLETED":
        return 1
    ref = output["workspace"]["ref"]
    print(f"the body changed nothing, so its commit is still {ref[:12]}")
    return 0 if ref == workspace["ref"] else 1


if __name__ == "__main__":
    sys.exit(main())
