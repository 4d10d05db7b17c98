from deploy.bench.storage import own_quantile
from deploy.bench.storage_requests import StorageRequests

BUCKET = "push_storage_request_own_seconds_bucket"


def test_quantile_is_the_bound_of_its_bucket_over_all_methods_since_the_begin() -> None:
    before = {f"{BUCKET} GET le=0.001": 5.0, f"{BUCKET} GET le=0.005": 5.0, f"{BUCKET} GET le=+Inf": 5.0}
    after = {
        f"{BUCKET} GET le=0.001": 95.0,
        f"{BUCKET} GET le=0.005": 103.0,
        f"{BUCKET} GET le=+Inf": 103.0,
        f"{BUCKET} PUT le=0.001": 0.0,
        f"{BUCKET} PUT le=0.005": 1.0,
        f"{BUCKET} PUT le=+Inf": 2.0,
        "push_storage_due_objects": 7.0,
    }
    assert own_quantile(before, after, 0.9) == 0.001
    assert own_quantile(before, after, 0.99) == 0.005
    assert own_quantile(before, after, 1.0) == float("inf")


def test_four_of_five_requests_are_reads() -> None:
    requests = StorageRequests(50, user="a", password="b").prepared(500)
    reads = sum(each.startswith(b"GET ") for each in requests)
    assert reads == 400
    assert all(each.endswith(b"\r\n\r\n") for each in requests if each.startswith(b"GET "))
