import pytest

from services.notificationserver.core.outcomes import callback_outcome, one_signal_outcome, web_push_outcome


@pytest.mark.parametrize(
    ("status", "result"),
    [
        *((200, "delivered"), (204, "delivered"), (301, "retry"), (302, "retry"), (400, "retry"), (404, "retry")),
        *((410, "retire"), (413, "retry"), (429, "retry"), (500, "retry"), (503, "retry"), (100, "retry")),
    ],
)
def test_callback_succeeds_with_2xx_and_is_retired_by_410_alone(status: int, result: str) -> None:
    assert callback_outcome(status, None).result == result


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (201, "delivered"),
        (404, "retire"),
        (410, "retire"),
        (413, "dead"),
        (401, "retry"),
        (429, "retry"),
        (500, "retry"),
    ],
)
def test_subscription_ends_with_404_and_410(status: int, result: str) -> None:
    assert web_push_outcome(status, 7.0).result == result


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, b'{"id": "abc"}', "delivered"),
        (200, b'{"id": "abc", "external_id": null, "errors": {}}', "delivered"),
        (200, b'{"id": "", "errors": ["All included players are not subscribed"]}', "dead"),
        (200, b'{"id": "abc", "errors": {"invalid_aliases": {"external_id": ["x"]}}}', "dead"),
        (200, b'{"id": "abc", "errors": {"invalid_player_ids": ["x"]}}', "dead"),
        (200, b"{}", "dead"),
        (200, b"<html>", "retry"),
        (400, b"{}", "dead"),
        (403, b"{}", "retry"),
        (429, b"{}", "retry"),
        (500, b"", "retry"),
    ],
)
def test_one_signal_is_a_success_only_with_an_id_and_valid_devices(status: int, body: bytes, result: str) -> None:
    assert one_signal_outcome(status, body, None).result == result


def test_retry_after_is_kept_for_a_retry() -> None:
    assert callback_outcome(429, 90.0).retry_after_s == 90.0
    assert callback_outcome(302, None).reason == "the receiver redirects (302)"
