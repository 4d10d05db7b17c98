from typing import Any

import pytest

from deploy.cluster.rollouts import RolloutProgress, error, pod_error, progress, unscheduled


def workload(kind: str = "Deployment", *, wanted: int = 2, **status: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "a", "generation": 3}, "spec": {"replicas": wanted}, "status": status}


def steady(**changes: int) -> dict[str, Any]:
    status = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    return {**workload(), "status": status | changes}


def test_rollout_is_done_when_all_pods_are_updated_and_ready() -> None:
    assert progress(steady()) == RolloutProgress(2, 2, 2)
    assert progress(steady()).done


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"readyReplicas": 1}, "1/2"),
        ({"updatedReplicas": 1}, "2/2, 1 updated"),
        ({"replicas": 3}, "2/2, 1 updated"),  # an old pod is still there
        ({"observedGeneration": 2}, "0/2"),  # the controller has not seen the newest manifest
    ],
)
def test_rollout_is_not_done_while_a_pod_is_old_or_not_ready(change: dict[str, int], reported: str) -> None:
    assert not progress(steady(**change)).done
    assert str(progress(steady(**change))) == reported


def test_rollout_to_0_replicas_is_done() -> None:
    assert progress(workload(wanted=0, observedGeneration=3)).done


def test_job_is_done_when_it_has_succeeded() -> None:
    job = {"kind": "Job", "metadata": {"name": "a"}, "spec": {}, "status": {"active": 1}}
    assert not progress(job).done
    assert progress({**job, "status": {"succeeded": 1}}).done


@pytest.mark.parametrize(("kind", "status"), [("ReplicaFailure", "True"), ("Progressing", "False"), ("Failed", "True")])
def test_permanent_error_condition_is_reported(kind: str, status: str) -> None:
    condition = {"type": kind, "status": status, "reason": "FailedCreate", "message": "exceeded quota: pods"}
    assert error(workload(conditions=[condition]), []) == "FailedCreate: exceeded quota: pods"


def test_good_condition_is_not_reported() -> None:
    conditions = [{"type": "Progressing", "status": "True"}, {"type": "Available", "status": "False"}]
    assert not error(workload(conditions=conditions), [])


def test_failed_pod_creation_of_a_stateful_set_is_reported_from_its_events() -> None:
    event = {"reason": "FailedCreate", "message": "create Pod a-0 failed: exceeded quota"}
    assert error(workload("StatefulSet"), [], [event]) == "create Pod a-0 failed: exceeded quota"
    assert not error(workload("StatefulSet"), [{"metadata": {"name": "a-0"}, "status": {}}], [event])


def test_unschedulable_pod_is_reported_with_the_reason() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: insufficient memory"}
    pod = {"metadata": {"name": "a-0"}, "status": {"conditions": [condition]}}
    assert unscheduled([pod]) == "pod a-0: no node accepts it: 0/1 nodes are available: insufficient memory"
    assert not pod_error(pod), "a node may come"
    assert not unscheduled([])


def test_failing_sidecar_is_reported_by_name() -> None:
    waiting = {"reason": "InvalidImageName", "message": "a:b:c"}
    status = {"initContainerStatuses": [{"name": "redis", "state": {"waiting": waiting}}]}
    assert pod_error({"status": status}) == "container redis: its image has an invalid name (InvalidImageName): a:b:c"


def test_pod_that_is_being_created_has_no_error() -> None:
    status = {"containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}}]}
    assert not pod_error({"status": status})
