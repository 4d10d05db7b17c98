"""Logs: one JSON line per record in containers, readable lines on a terminal.

A record is a fixed event name plus fields: `log.info("batch_shipped", events=300)`. Fields are ids, not objects. No
field has personal data.
"""

import logging
import logging.config
import sys
from typing import Any, Literal

import structlog


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module. Pass `__name__`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def configure_logging(*, service: str, level: str, output: Literal["auto", "json", "text"]) -> None:
    """Configure the logging of this process, including libraries. Every record has the field `service`."""
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
        # Tracebacks have no values of variables, because these may be addresses, queries or passwords.
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
                # The client logs each lost connection several times at ERROR. Our code logs the consequence once.
                "aiokafka": {"level": "CRITICAL" if level != "DEBUG" else "DEBUG"},
                # It logs a warning for each malformed form, so any client of a public port could fill the log.
                "python_multipart": {"level": "CRITICAL"},
                # It logs each request, which would be one line an event.
                "httpx": {"level": "WARNING" if level == "INFO" else level},
                # The server logs its start and stop for each port. Our code logs them once per process.
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
