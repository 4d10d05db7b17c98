"""The settings of one cluster, and the values of the flags of `cloud.generate`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Literal, get_args

from deploy.errors import OperatorError

_RESERVED = ("local", "cloud")

EntryPoint = Literal["gateway", "ingress"]
PullPolicy = Literal["IfNotPresent", "Always", "Never"]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The settings of one cluster. Raises OperatorError for an invalid value."""

    name: str
    domain: str
    namespace: str = "push"
    registry: str = ""
    """The prefix of push/<service> in the names of our images. Empty: the default of the container engine."""
    version: str
    pull_policy: PullPolicy = "IfNotPresent"
    entry: EntryPoint = "gateway"
    gateway_class: str = ""
    email: str = ""
    """The contact address for the certificate authority."""
    trackers: tuple[int, int] = (2, 10)
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Sizes by `<StatefulSet>/<volume>`. Other volumes keep the size of the base."""
    trusted_proxies: str = ""
    observability: bool = False
    city_databases: bool = False
    """Whether the claim `city-databases` exists (kubernetes/components/city-databases)."""
    nfs: str = ""
    """The address of the NFS server of imageserver (kubernetes/overlays/nfs). Empty: a volume of the storage class."""

    def __post_init__(self) -> None:
        """Reject values that the API server or a certificate authority would reject later."""
        for flag, value, pattern, wanted in (
            (
                "--cluster",
                self.name,
                r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
                "a name of a-z, 0-9 and -, like berlin",
            ),
            ("--namespace", self.namespace, r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", "a name of a-z, 0-9 and -"),
            (
                "--domain",
                self.domain,
                r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]{2,63}",
                "a domain, for example push.example.com",
            ),
            (
                "--registry",
                self.registry,
                r"([a-z0-9][-a-z0-9.]*(:\d+)?(/[a-z0-9][-a-z0-9._]*)*)?",
                "a host and a path, for example registry.example.com/team",
            ),
            # The version is also a label.
            ("--tag", self.version, r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", "a version, for example 0.2.0"),
            ("--nfs", self.nfs, r"(\d{1,3}(\.\d{1,3}){3})?", "the address of the NFS server, for example 10.96.20.49"),
            ("--email", self.email, r"(\S+@\S+\.\S+)?", "an address, for example admin@example.com"),
        ):
            if not re.fullmatch(pattern, value):
                raise OperatorError(
                    f'{flag}: invalid value "{value}". Use {wanted}.' if value else f"{flag} is missing: {wanted}"
                )
        self._require_known_words()
        for network in filter(None, self.trusted_proxies.split(",")):
            try:
                ip_network(network.strip(), strict=False)
            except ValueError:
                raise OperatorError(f'--trusted-proxies: invalid network "{network}". Use CIDR: 10.0.0.0/8.') from None
        for volume, size in self.volumes.items():
            if not re.fullmatch(r"[1-9][0-9]*(Mi|Gi|Ti)", size):
                raise OperatorError(f'--volumes {volume}: invalid size "{size}". Use a size like 40Gi.')

    def _require_known_words(self) -> None:
        if self.name in _RESERVED:
            raise OperatorError(f"--cluster {self.name}: an overlay of this repository has that name")
        for flag, given, known in (
            ("--pull-policy", self.pull_policy, get_args(PullPolicy)),
            ("--entry", self.entry, get_args(EntryPoint)),
        ):
            if given not in known:
                raise OperatorError(f'{flag}: invalid value "{given}". Use one of {", ".join(known)}.')
        if self.entry == "gateway" and not self.gateway_class:
            raise OperatorError("--gateway-class is missing: `kubectl get gatewayclass` lists them")
        least, most = self.trackers
        if not 2 <= least <= most:  # noqa: PLR2004 - replacing a single tracker would interrupt the service
            raise OperatorError(f"--trackers {least}:{most}: invalid range. Use MIN:MAX with MIN of at least 2.")


def parse_trackers(text: str) -> tuple[int, int]:
    """Parse MIN:MAX. Raises OperatorError."""
    found = re.fullmatch(r"(\d{1,4}):(\d{1,4})", text)
    if not found:
        raise OperatorError(f'--trackers: invalid range "{text}". Use MIN:MAX, for example 2:10.')
    return int(found[1]), int(found[2])


def parse_volumes(text: str) -> dict[str, str]:
    """Parse kafka/data=100Gi,tracker/spool=8Gi. Raises OperatorError."""
    sizes = {}
    for each in filter(None, text.split(",")):
        volume, equals, size = each.partition("=")
        if not equals or "/" not in volume:
            raise OperatorError(f'--volumes: invalid value "{each}". Use STATEFULSET/VOLUME=SIZE (kafka/data=100Gi).')
        sizes[volume.strip()] = size.strip()
    return sizes
