"""Logs: one JSON line a record in containers, readable lines on a terminal.

A record is a static event name plus fields: `log.info("batch_shipped", events=300)`. ids, not objects; no personal
data.
"""

import logging
import logging.config
import sys
from typing import Any, Literal

import structlog


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of one module; pass `__name__`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def configure_logging(*, service: str, level: str, output: Literal["auto", "json", "text"]) -> None:
    """Set up logging of this process, libraries included. Every record carries `service`."""
    readable = output == "text" or (output == "auto" and sys.stderr.isatty())

    def add_service(_: Any, __: str, record: structlog.typing.EventDict) -> structlog.typing.EventDict:
        record["service"] = service
        return record

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        add_service,
    ]
    rendering: list[structlog.typing.Processor] = (
        # Tracebacks without the values of variables, which may be addresses, queries or passwords.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if readable
        else [
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "push": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "push"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                # The client logs each lost connection several times at ERROR; our own code says what follows from it.
                "aiokafka": {"level": "CRITICAL" if level != "DEBUG" else "DEBUG"},
                # It warns of each malformed form: on a public port that line would be anyone's to write.
                "python_multipart": {"level": "CRITICAL"},
                # It says each request, which would be a line an event.
                "httpx": {"level": "WARNING" if level == "INFO" else level},
                # The server says for each port that it starts and stops, which ours say once for the process.
                "uvicorn": {"level": "WARNING" if level == "INFO" else level},
            },
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
