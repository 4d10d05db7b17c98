"""Rollouts: the progress of a workload and the error that blocks it. Pure functions of the API server's objects."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from deploy.cluster.api import Manifest

_WAITING_FAULTS = {
    "ErrImagePull": "its image can't be pulled",
    "ImagePullBackOff": "its image can't be pulled",
    "InvalidImageName": "its image has an invalid name",
    "ErrImageNeverPull": "its image is not on the node",
    "CreateContainerConfigError": "an object that it refers to is missing",
    "CreateContainerError": "its container can't be created",
    "RunContainerError": "its container can't start",
    "CrashLoopBackOff": "it ends repeatedly",
}


class RolloutProgress(NamedTuple):
    """The progress of one workload."""

    ready: int
    wanted: int
    updated: int
    """Pods of the newest template. For a Job the same as `ready`."""

    @property
    def done(self) -> bool:
        """Whether all wanted pods are ready and of the newest template."""
        return self.ready >= self.wanted and self.updated >= self.wanted

    def __str__(self) -> str:
        """Return the progress for people."""
        behind = "" if self.updated >= self.ready else f", {self.updated} updated"
        return f"{self.ready}/{self.wanted}{behind}"


def progress(workload: Manifest) -> RolloutProgress:
    """Return the progress of a Deployment, a StatefulSet or a Job.

    It is 0 while the controller has not seen the newest manifest.
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
        # Old pods still exist.
        updated = min(updated, wanted - 1)
    return RolloutProgress(status.get("readyReplicas", 0), wanted, updated)


def has_failed(job: Manifest) -> bool:
    """Return whether a Job has failed."""
    conditions = job.get("status", {}).get("conditions", ())
    return any(found["type"] == "Failed" and found["status"] == "True" for found in conditions)


def fault(workload: Manifest, pods: Sequence[Manifest], events: Sequence[Manifest] = ()) -> str:
    """Return the error that blocks a workload. Empty when waiting can help."""
    for condition in workload.get("status", {}).get("conditions", ()):
        stuck = condition["type"] == "ReplicaFailure" and condition["status"] == "True"
        late = condition["type"] == "Progressing" and condition["status"] == "False"
        failed = condition["type"] == "Failed" and condition["status"] == "True"
        if stuck or late or failed:
            return f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
    for pod in pods:
        if found := pod_fault(pod):
            return f"pod {pod['metadata']['name']}: {found}"
    # A StatefulSet has no condition for pods that can't be created: only events report them.
    refused = [event for event in events if event.get("reason") == "FailedCreate"]
    return str(refused[-1].get("message", "")) if refused and not pods else ""


def pod_fault(pod: Manifest) -> str:
    """Return the error that blocks a pod. Empty when it runs or is still being created."""
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
    """Return a pod without a node and the reason, else an empty string. An autoscaler of nodes may still add one."""
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions", ()):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return f"pod {pod['metadata']['name']}: no node accepts it: {condition.get('message', '')}"
    return ""
