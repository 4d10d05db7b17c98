"""Print the path of a mongod that runs here: the one of the local stack, which is inside a wheel."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from deploy.develop.localstack.mongo import find_mongod

if __name__ == "__main__":
    print(find_mongod(lambda sentence: print(sentence, file=sys.stderr)))  # noqa: T201 - a script
