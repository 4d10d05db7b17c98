from typing import Any

import pytest

from deploy.cluster.rollouts import RolloutProgress, fault, pod_fault, progress, unscheduled


def workload(kind: str = "Deployment", *, wanted: int = 2, **status: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "a", "generation": 3}, "spec": {"replicas": wanted}, "status": status}


def settled(**changes: int) -> dict[str, Any]:
    status = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    return {**workload(), "status": status | changes}


def test_a_rollout_is_done_when_all_are_new_and_ready() -> None:
    assert progress(settled()) == RolloutProgress(2, 2, 2)
    assert progress(settled()).done


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"readyReplicas": 1}, "1/2"),
        ({"updatedReplicas": 1}, "2/2, 1 of the new kind"),
        ({"replicas": 3}, "2/2, 1 of the new kind"),  # an old pod is still there
        ({"observedGeneration": 2}, "0/2"),  # nobody has seen the newest manifest
    ],
)
def test_a_rollout_is_not_done_while_anything_is_old_or_not_ready(change: dict[str, int], told: str) -> None:
    assert not progress(settled(**change)).done
    assert str(progress(settled(**change))) == told


def test_a_rollout_to_nothing_is_done() -> None:
    assert progress(workload(wanted=0, observedGeneration=3)).done


def test_a_job_is_done_when_it_has_succeeded() -> None:
    job = {"kind": "Job", "metadata": {"name": "a"}, "spec": {}, "status": {"active": 1}}
    assert not progress(job).done
    assert progress({**job, "status": {"succeeded": 1}}).done


@pytest.mark.parametrize(("kind", "status"), [("ReplicaFailure", "True"), ("Progressing", "False"), ("Failed", "True")])
def test_a_condition_that_no_waiting_cures_is_told(kind: str, status: str) -> None:
    condition = {"type": kind, "status": status, "reason": "FailedCreate", "message": "exceeded quota: pods"}
    assert fault(workload(conditions=[condition]), []) == "FailedCreate: exceeded quota: pods"


def test_a_condition_of_good_order_is_none() -> None:
    conditions = [{"type": "Progressing", "status": "True"}, {"type": "Available", "status": "False"}]
    assert not fault(workload(conditions=conditions), [])


def test_what_a_stateful_set_could_not_make_is_told_by_its_events() -> None:
    event = {"reason": "FailedCreate", "message": "create Pod a-0 failed: exceeded quota"}
    assert fault(workload("StatefulSet"), [], [event]) == "create Pod a-0 failed: exceeded quota"
    assert not fault(workload("StatefulSet"), [{"metadata": {"name": "a-0"}, "status": {}}], [event])


def test_a_pod_that_no_node_takes_says_why() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: insufficient memory"}
    pod = {"metadata": {"name": "a-0"}, "status": {"conditions": [condition]}}
    assert unscheduled([pod]) == "pod a-0: no node takes it: 0/1 nodes are available: insufficient memory"
    assert not pod_fault(pod), "a node may come"
    assert not unscheduled([])


def test_a_sidecar_that_does_not_start_is_told_by_name() -> None:
    waiting = {"reason": "InvalidImageName", "message": "a:b:c"}
    status = {"initContainerStatuses": [{"name": "redis", "state": {"waiting": waiting}}]}
    assert pod_fault({"status": status}) == "container redis: the name of its image is none (InvalidImageName): a:b:c"


def test_a_pod_that_is_being_made_has_no_fault() -> None:
    status = {"containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}}]}
    assert not pod_fault({"status": status})
