"""Who may change what, and who sees a true location."""

import re
from typing import Final, Literal, NamedTuple

Role = Literal["service", "app"]
"""service: the services of this system. app: the pair of user and password that all phones share."""

_DEVICE: Final = re.compile(r"[0-9a-f]{16}")


class Caller(NamedTuple):
    """The sender of a request."""

    role: Role
    owner: str | None = None
    """The owner whose token was sent; None without a token."""

    @property
    def is_service(self) -> bool:
        """Whether it has the credentials of a service."""
        return self.role == "service"

    def may_create(self, owner: str, *, has_token: bool) -> bool:
        """Return whether it may create objects of an owner. `has_token`: a token was issued to this owner."""
        return self.is_service or self.owner == owner or not has_token

    def may_change(self, owner: str) -> bool:
        """Return whether it may change and delete objects of an owner."""
        return self.is_service or self.owner == owner

    def acts_for(self, owner: str, asked_owner: str | None) -> bool:
        """Return whether it reads an object of `owner` on behalf of this owner, and so gets the true location.

        A service serves many people. It acts for an owner only if it asks for the objects of this owner.
        """
        return owner == (asked_owner if self.is_service else self.owner)


def is_device(owner: str) -> bool:
    """Return whether an owner is a device: 16 hexadecimal digits. Importers and website users are not."""
    return _DEVICE.fullmatch(owner) is not None
