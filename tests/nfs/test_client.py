"""The NFS server as the kernel of a client sees it."""

import pytest

from tests.nfs.machine import DEFAULT, OURS, Guest

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.mark.usefixtures("server")
def test_files_of_all_sizes_are_equal_through_another_mount(guest: Guest) -> None:
    with guest.run("equal_bytes"):
        for options in guest.result("options", limit_s=60):
            assert {"vers=4.2", "hard", "noatime", "lookupcache=pos"} <= set(options.split(","))
        for size in (10, 20_000, 200_000, 20_000_000):
            assert guest.result("file", limit_s=60) == {"size": size, "equal": True, "owner": 10_001}


@pytest.mark.usefixtures("server")
def test_every_user_can_do_all_file_operations(guest: Guest) -> None:
    with guest.run("operations"):
        results = guest.result("operations", limit_s=60)
    locks = {name: error for name, error in results.items() if name.startswith("other's lock")}
    assert set(locks.values()) == {"EAGAIN"}
    assert {name: error for name, error in results.items() if name not in locks and error != "done"} == {}
    assert len(results) == 22


@pytest.mark.usefixtures("server")
def test_stored_picture_is_visible_at_the_next_request_of_another_mount(guest: Guest) -> None:
    with guest.run("visibility"):
        for options in (DEFAULT, OURS):
            found = guest.result("unseen", limit_s=240)
            assert found == {"options": options, "of": 1_000, "unseen": 0}


@pytest.mark.usefixtures("server")
def test_name_that_was_looked_up_too_early_is_visible_with_our_options_only(guest: Guest) -> None:
    with guest.run("early_lookups"):
        found = {each["options"]: each["missing"] for each in (guest.result("missing", limit_s=60) for _ in range(2))}
    assert found[OURS] == 0
    # The reason for names that nobody knows before their files exist.
    assert found[DEFAULT] > 0
