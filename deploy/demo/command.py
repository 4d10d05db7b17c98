"""The task `demo`: check its flags, then replay one log or run until Ctrl-C."""

from pathlib import Path

from rich.console import Console

from deploy.demo import replay, watch
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.develop.localstack.mongo import OptionalMongoChoice, choose_optional_mongo
from deploy.errors import OperatorError
from deploy.numbers import positive_number


def demo(  # noqa: PLR0913 - the flags of the task
    *, once: bool, log: Path | None, json_output: bool, kafka: KafkaChoice, mongo: OptionalMongoChoice, rate: str
) -> int:
    """Run the demo. Returns the exit code. Raises OperatorError for flags that do not fit together."""
    if once != (log is not None):
        raise OperatorError("--once needs --log, and --log needs --once: demo --once --log FILE")
    if json_output and not once:
        raise OperatorError("--json needs --once: demo --once --log FILE --json")
    requests_per_s = positive_number("--rate", rate)
    console = Console(stderr=json_output)
    storage = choose_optional_mongo(mongo, console.print)
    if log is None:
        watch.watch(kafka=kafka, mongo=storage, rate=requests_per_s, console=console)
        return 0
    result = replay.replay_once(log, kafka=kafka, mongo=storage, console=console)
    replay.print_result(result, json_output=json_output, console=console)
    return result.exit_code
