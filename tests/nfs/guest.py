"""The program of the machine with the NFS client, inside user-mode-linux only: it runs a scene with arguments."""

import os
import sys

from tests.nfs import files, outages, replicas

SCENES = (
    *(files.equal_bytes, files.refused_mount, files.operations, files.visibility, files.early_lookups),
    *(outages.killed_server, outages.recreated_server, replicas.replicas),
)

if __name__ == "__main__":
    {scene.__name__: scene for scene in SCENES}[sys.argv[1]](*sys.argv[2:])
    # Threads and processes of the scene end with the machine.
    os._exit(0)
