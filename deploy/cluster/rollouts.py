"""Rollouts: how far a workload has come, and what keeps it. Pure: from what the API server tells."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from deploy.cluster.api import Manifest

_WAITING_FAULTS = {
    "ErrImagePull": "its image can't be pulled",
    "ImagePullBackOff": "its image can't be pulled",
    "InvalidImageName": "the name of its image is none",
    "ErrImageNeverPull": "its image is not on the node",
    "CreateContainerConfigError": "something that it refers to is missing",
    "CreateContainerError": "its container can't be made",
    "RunContainerError": "its container can't be run",
    "CrashLoopBackOff": "it ends again and again",
}


class RolloutProgress(NamedTuple):
    """How far one workload has come."""

    ready: int
    wanted: int
    updated: int
    """Pods of the newest template; the same as `ready` for a Job."""

    @property
    def done(self) -> bool:
        """Whether all that is wanted is there, of the newest template."""
        return self.ready >= self.wanted and self.updated >= self.wanted

    def __str__(self) -> str:
        """Say it for people."""
        behind = "" if self.updated >= self.ready else f", {self.updated} of the new kind"
        return f"{self.ready}/{self.wanted}{behind}"


def progress(workload: Manifest) -> RolloutProgress:
    """Say how far a Deployment, a StatefulSet or a Job has come.

    A controller that has not seen the newest manifest yet has done nothing of it.
    """
    spec, status = workload["spec"], workload.get("status", {})
    if workload["kind"] == "Job":
        done = status.get("succeeded", 0)
        return RolloutProgress(done, spec.get("completions", 1), done)
    wanted = spec.get("replicas", 1)
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return RolloutProgress(0, wanted, 0)
    updated = status.get("updatedReplicas", 0)
    if status.get("replicas", 0) > wanted:
        # Old pods are still there.
        updated = min(updated, wanted - 1)
    return RolloutProgress(status.get("readyReplicas", 0), wanted, updated)


def has_failed(job: Manifest) -> bool:
    """Whether a Job has given up."""
    conditions = job.get("status", {}).get("conditions", ())
    return any(found["type"] == "Failed" and found["status"] == "True" for found in conditions)


def fault(workload: Manifest, pods: Sequence[Manifest], events: Sequence[Manifest] = ()) -> str:
    """Say what keeps a workload; empty when nothing does that waiting would not cure."""
    for condition in workload.get("status", {}).get("conditions", ()):
        stuck = condition["type"] == "ReplicaFailure" and condition["status"] == "True"
        late = condition["type"] == "Progressing" and condition["status"] == "False"
        failed = condition["type"] == "Failed" and condition["status"] == "True"
        if stuck or late or failed:
            return f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
    for pod in pods:
        if found := pod_fault(pod):
            return f"pod {pod['metadata']['name']}: {found}"
    # A StatefulSet has no condition for it: what it could not make it tells in events alone.
    refused = [event for event in events if event.get("reason") == "FailedCreate"]
    return str(refused[-1].get("message", "")) if refused and not pods else ""


def pod_fault(pod: Manifest) -> str:
    """Say what keeps a pod; empty when it runs or is still being made."""
    status: Any = pod.get("status", {})
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = container.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if reason in _WAITING_FAULTS:
            last = container.get("lastState", {}).get("terminated", {})
            ended = f" (exit code {last['exitCode']})" if "exitCode" in last else ""
            told = waiting.get("message", "")
            return f"container {container['name']}: {_WAITING_FAULTS[reason]} ({reason}): {told}{ended}".rstrip(": ")
    return ""


def unscheduled(pods: Sequence[Manifest]) -> str:
    """Say which pod waits for a node; empty when none does. Where nodes come by need, waiting cures it."""
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions", ()):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return f"pod {pod['metadata']['name']}: no node takes it: {condition.get('message', '')}"
    return ""
