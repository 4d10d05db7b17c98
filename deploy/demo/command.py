"""The task `demo`: check its flags, then replay one log or run until Ctrl-C."""

from pathlib import Path

from deploy.demo import replay, watch
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.errors import OperatorError
from deploy.numbers import positive_number


def demo(*, once: bool, log: Path | None, json_output: bool, kafka: KafkaChoice, rate: str) -> int:
    """Run the demo. Returns the exit code. Raises OperatorError for flags that do not fit together."""
    if once != (log is not None):
        raise OperatorError("--once needs --log, and --log needs --once: demo --once --log FILE")
    if json_output and not once:
        raise OperatorError("--json needs --once: demo --once --log FILE --json")
    if log is not None:
        return replay.replay_once(log, kafka=kafka, json_output=json_output).exit_code
    watch.watch(kafka=kafka, rate=positive_number("--rate", rate))
    return 0
