"""Parts of the OpenAPI description."""

from typing import Any, Final

_BINARY: Final = {"type": "string", "format": "binary"}
UPLOAD: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY}}
            },
            "application/octet-stream": {"schema": _BINARY},
        },
    }
}
"""The body of an upload: a form with the field `file`, or the bytes themselves under any other media type."""
