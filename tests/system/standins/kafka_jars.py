"""Print the folder of Apache Kafka's jars at the requested version. Maven downloads them once."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from deploy.develop.localstack.apache import ensure_jars


def main() -> None:
    """Print the folder, or end with 1 when the jars are of another version."""
    jars = ensure_jars(lambda sentence: print(sentence, file=sys.stderr))  # noqa: T201 - a script
    if not any(jars.glob(f"kafka_*-{sys.argv[1]}.jar")):
        sys.exit(f"deploy/develop/localstack/kafka-pom.xml and the catalog disagree: no jar of Kafka {sys.argv[1]}")
    print(jars)  # noqa: T201 - a script


if __name__ == "__main__":
    main()
