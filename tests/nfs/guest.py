"""What the machine with the NFS client runs: the scene of its argument. It runs inside user-mode-linux only."""

import os
import sys

from tests.nfs import files, outages

SCENES = (
    *(files.equal_bytes, files.refused_mount, files.operations, files.visibility, files.early_lookups),
    *(outages.killed_server, outages.recreated_server, outages.stopped_server),
)

if __name__ == "__main__":
    {scene.__name__: scene for scene in SCENES}[sys.argv[1]]()
    # A thread that waits for a stopped server would keep the interpreter.
    os._exit(0)
