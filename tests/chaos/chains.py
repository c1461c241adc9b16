"""Chains of tasks on branches of one repository, and whether everything of them is as it must be.

A run is: a plain step, three workspace steps that publish to a branch of the run's own, and a plain step.
Each writes down what it returns (`modules/chained.py`), and gets the token of the step before.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from support.conductor import Conductor
from support.workshop import Repository, Store, workspace_input

from .notes import Notes

PLAIN_FIRST, EDITS, PLAIN_LAST = "first", ("edit1", "edit2", "edit3"), "last"
STEPS = (PLAIN_FIRST, *EDITS, PLAIN_LAST)
BASE = {f"in/old-{step}": f"old {step}" for step in range(len(STEPS))} | {"beside": "not of the workspace"}
# Killed, timed out and refused attempts use up retries; no run may fail for want of them.
RETRIES = 500
LONGEST_SECONDS = 0.3
CHILD_SHARE = 0.1


@dataclass
class Run:
    """One workflow, its branch, and what somebody else has committed there."""

    key: str
    is_steady: bool
    branch: str
    workflow: str = ""
    foreign: dict[str, str] = field(default_factory=dict)
    foreign_commits: list[str] = field(default_factory=list)


@dataclass
class Verdict:
    """What was looked at, and what was wrong."""

    finished: int = 0
    results: int = 0
    claims: int = 0
    retries: int = 0
    branches: int = 0
    commits: int = 0
    steady_commits: int = 0
    steady_again: int = 0
    replaced_commits: int = 0
    completed_twice: list[str] = field(default_factory=list)
    foreign_commits: int = 0
    problems: list[str] = field(default_factory=list)

    def expect(self, is_so: bool, problem: str) -> None:
        """Note a problem unless `is_so`."""
        if not is_so:
            self.problems.append(problem)


class Chains:
    """The runs of one campaign.

    Args:
        conductor: The engine, reached directly.
        store: The store, reached directly.
        notes: What bodies return.
        seed: Of the runs' parameters.
        response_seconds: After so long without a sign a task is given to somebody else.
        long: The share of bodies that last long, and how many seconds they last.
    """

    def __init__(
        self,
        conductor: Conductor,
        store: Store,
        notes: Notes,
        seed: int,
        response_seconds: int,
        long: tuple[float, float],
    ) -> None:
        self.runs: list[Run] = []
        self.branches: list[str] = []
        self.plain_task, self.edit_task = (
            f"chaos.{kind}.{uuid.uuid4().hex[:12]}" for kind in ("plain", "edit")
        )
        self._conductor, self._notes = conductor, notes
        self._random = random.Random(seed)
        self._long = long
        self.repository = Repository(store, BASE)
        for task in (self.plain_task, self.edit_task):
            conductor.define_task(task, retryCount=RETRIES, responseTimeoutSeconds=response_seconds)
        conductor.define_workflow(self.plain_task, self._steps())

    def _steps(self) -> list[dict[str, Any]]:
        steps = []
        workspace, previous = "${workflow.input.workspace}", ""
        for number, name in enumerate(STEPS):
            params = {
                "run": "${workflow.input.run}",
                "step": number,
                "is_steady": "${workflow.input.is_steady}",
                "seconds": f"${{workflow.input.seconds{number}}}",
                "has_child": f"${{workflow.input.has_child{number}}}",
                "previous": previous,
            }
            inputs: dict[str, Any] = {"params": params}
            if name in EDITS:
                inputs["workspace"] = workspace
                workspace = f"${{{name}.output.workspace}}"
            previous = f"${{{name}.output.result.token}}"
            task = self.edit_task if name in EDITS else self.plain_task
            steps.append(
                {"name": task, "taskReferenceName": name, "type": "SIMPLE", "inputParameters": inputs}
            )
        return steps

    def start(self) -> Run:
        """Start one more run on a branch of its own.

        Raises:
            AssertionError: A server refuses. The run is not followed, though it may have been started.
            OSError: A server cannot be reached, with the same consequence.

        """
        key = f"run{len(self.branches):05}"
        self.branches.append(key)
        run = Run(key, self._random.random() < 0.5, key)
        answer = self.repository.branch(run.branch, self.repository.input)
        assert answer.status == 201, answer.body
        inputs: dict[str, Any] = {"run": run.key, "is_steady": run.is_steady}
        inputs["workspace"] = workspace_input(self.repository, run.branch)
        for number in range(len(STEPS)):
            inputs[f"seconds{number}"] = self._seconds()
            inputs[f"has_child{number}"] = self._random.random() < CHILD_SHARE
        body = {"name": self.plain_task, "version": 1, "input": inputs}
        run.workflow = str(self._conductor.call("POST", "/workflow", body))
        self.runs.append(run)
        return run

    def _seconds(self) -> float:
        share, seconds = self._long
        return seconds if self._random.random() < share else self._random.uniform(0, LONGEST_SECONDS)

    def commit_as_somebody_else(self, run: Run) -> None:
        """Commit a file that no task touches to a run's branch."""
        number = len(run.foreign)
        path, content = f"in/theirs-{number}", uuid.uuid4().hex
        assert self.repository.put(run.branch, path, content).status == 201
        committed = self.repository.commit(run.branch, f"theirs {number}")
        assert committed.status == 201, committed.body
        run.foreign[path] = content
        run.foreign_commits.append(str(committed.json["id"]))

    def check(self) -> Verdict:
        """Compare every run's tasks, results, branch and history with what its bodies have noted."""
        verdict = Verdict()
        for run in self.runs:
            tasks = self._check_tasks(run, verdict)
            if tasks is not None:
                self._check_branch(run, tasks, verdict)
        return verdict

    def _check_tasks(self, run: Run, verdict: Verdict) -> dict[str, dict[str, Any]] | None:
        """Return the last completed task of each step, if there is one each."""
        workflow = self._conductor.workflow(run.workflow)
        tasks = workflow["tasks"]
        verdict.claims += sum(task["pollCount"] for task in tasks)
        verdict.retries += sum(task["retryCount"] > 0 for task in tasks)
        completed = [task for task in tasks if task["status"] == "COMPLETED"]
        done = {task["referenceTaskName"]: task for task in completed}
        # A real server that lets a task's time pass while its result arrives keeps the result and retries the
        # task all the same: it reads and writes tasks without a lock. What it goes on with is the last one.
        twice = [task for task in completed if done[task["referenceTaskName"]] is not task]
        is_once = not twice or self._conductor.kind == "real"
        is_whole = workflow["status"] == "COMPLETED" and len(done) == len(STEPS) and is_once
        states = [(task["referenceTaskName"], task["retryCount"], task["status"]) for task in tasks]
        verdict.expect(is_whole, f"{run.key} is {workflow['status']}: {states}")
        if not is_whole:
            return None
        verdict.finished += 1
        for task in twice:
            again = done[task["referenceTaskName"]]
            times = [(one["startTime"], one["endTime"], one["updateTime"]) for one in (task, again)]
            verdict.completed_twice.append(f"{run.key} {task['referenceTaskName']}: {times}")
            is_retry = again["retryCount"] > task["retryCount"]
            verdict.expect(is_retry, f"{run.key}: {states}")
        previous = ""
        for number, name in enumerate(STEPS):
            result = done[name]["outputData"]["result"]
            returned = self._notes.returned(run.key, number)
            verdict.steady_again += run.is_steady and name in EDITS and len(returned) > 1
            verdict.expect(result in returned, f"{run.key} {name}: {result} is none of {returned}")
            verdict.expect(
                result["previous"] == previous, f"{run.key} {name}: got {result['previous']}, not {previous}"
            )
            seen = {
                f"step-{step}": done[STEPS[step]]["outputData"]["result"]["token"]
                for step in range(1, number)
            }
            verdict.expect(
                name not in EDITS or result["seen"] == seen,
                f"{run.key} {name}: saw {result['seen']}, not {seen}",
            )
            previous = result["token"]
            verdict.results += 1
        return done

    def _check_branch(self, run: Run, done: dict[str, dict[str, Any]], verdict: Verdict) -> None:
        """The branch holds what the completed attempts wrote and what others committed, each once."""
        wanted = {path: content for path, content in BASE.items() if path not in _removed()}
        for number, name in enumerate(STEPS):
            if name in EDITS:
                wanted[f"in/step-{number}"] = done[name]["outputData"]["result"]["token"]
        wanted |= run.foreign
        found = self.repository.files(run.branch)
        verdict.expect(found == wanted, f"branch {run.branch} has {found}, not {wanted}")
        verdict.branches += 1
        history = self.repository.log(run.branch)
        ids = {commit["id"] for commit in history}
        missing = [commit for commit in run.foreign_commits if commit not in ids]
        verdict.expect(not missing, f"{run.branch}: commits of others are gone: {missing}")
        verdict.foreign_commits += len(run.foreign_commits)
        for name in EDITS:
            # Newest first.
            ours = [one for one in history if one["metadata"].get("perago.reference_task_name") == name]
            newest = ours[0]["id"] if ours else None
            published = done[name]["outputData"]["workspace"]["ref"]
            verdict.expect(
                newest == published, f"{run.branch} {name}: {newest} is on the branch, {published} reported"
            )
            if run.is_steady:
                verdict.expect(
                    len(ours) == 1, f"{run.branch} {name}: {len(ours)} commits of identical attempts"
                )
                verdict.steady_commits += len(ours)
            else:
                verdict.replaced_commits += max(0, len(ours) - 1)
            verdict.commits += len(ours)


def _removed() -> set[str]:
    return {f"in/old-{number}" for number, name in enumerate(STEPS) if name in EDITS}
