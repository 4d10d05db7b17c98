"""The search in the trackers: asks the internal port of each one, which also covers its spool, its list and claims."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx

from services.backbone.search import Target, decode_report, encode_targets
from services.kafidx.core.find import TrackerResult

_LIMIT_S: Final = 20.0
"""Longer than a tracker searches: five seconds in each of three places."""
_CONNECT_S: Final = 2.0
_MOST_BYTES: Final = 1_048_576
"""The most bytes of a response. A report with 20 targets and ten entries for each has under 100 kB."""
_MOST_TRACKERS: Final = 100
_AT_ONCE: Final = 10
_NO_CERTIFICATES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Internal ports are plain HTTP. httpx would load all certificates of certifi for each client, which blocks the event
loop for 30 to 200 ms."""


class Trackers:
    """The trackers behind the URLs of KAFIDX_TRACKERS."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def search(self, targets: Sequence[Target]) -> list[TrackerResult]:
        """Ask all trackers. A tracker without a response has its error. The list is empty if no URL is set.

        A host name with several addresses (a headless Service) is asked at each of them.
        """
        query = encode_targets(targets)
        async with httpx.AsyncClient(
            timeout=httpx.Timeout(_LIMIT_S, connect=_CONNECT_S),
            trust_env=False,  # internal ports are never behind a proxy of the environment
            verify=_NO_CERTIFICATES,
        ) as client:
            resolved = await asyncio.gather(*(_resolve(url) for url in self._urls))
            found = [result for results in resolved for result in results]
            asked = await asyncio.gather(*(self._ask(client, each, query) for each in found[:_MOST_TRACKERS]))
        skipped = len(found) - len(asked)
        return [*asked, *([TrackerResult(f"{skipped} more trackers", None, "too many addresses")] if skipped else [])]

    async def _ask(self, client: httpx.AsyncClient, tracker: TrackerResult, query: str) -> TrackerResult:
        if tracker.error:
            return tracker
        try:
            async with asyncio.timeout(_LIMIT_S), self._free:  # the time includes the wait for a free place
                return tracker._replace(report=decode_report(await _read(client, f"{tracker.address}/find?{query}")))
        except (TimeoutError, httpx.TimeoutException):
            error = "no response in time"
        except _BadResponse as failure:
            error = str(failure)
        except httpx.InvalidURL as failure:  # httpx refuses more than 65,536 characters
            error = f"the URL of the search is invalid ({failure})"
        except (httpx.HTTPError, OSError) as failure:
            error = f"does not respond ({type(failure).__name__})"
        except ValueError:
            error = "its response is not a report, so its version may be another one"
        return tracker._replace(error=error)


class _BadResponse(Exception):
    """The response of a tracker cannot be used. The message states the reason."""


async def _read(client: httpx.AsyncClient, url: str) -> bytes:
    body = bytearray()
    async with client.stream("GET", url) as response:
        if response.status_code != httpx.codes.OK:
            raise _BadResponse(f"responded with status {response.status_code}")
        async for part in response.aiter_bytes():
            body += part
            if len(body) > _MOST_BYTES:
                raise _BadResponse(f"its response has over {_MOST_BYTES:,} bytes")
    return bytes(body)


async def _resolve(url: str) -> list[TrackerResult]:
    """Return a tracker for each address of the host, or one with an error."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(_CONNECT_S):
            found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a label of the name is empty or has over 63 characters
        return [TrackerResult(url, None, "its name has no address")]
    hosts = dict.fromkeys(str(address[4][0]) for address in found)
    return [
        TrackerResult(f"http://{f'[{host}]' if ':' in host else host}:{parts.port}{parts.path}", None) for host in hosts
    ]
