"""Run one of the project's commands on the first GPU of this machine that no other such command has.

    GPUS=2 python on_free_gpu.py COMMAND.py FLAGS

Nothing is chosen where there are no GPUS, and where CUDA_VISIBLE_DEVICES has chosen already, as Slurm does. The GPU is
held by a lock that the command inherits, and that the system lets go of when it ends.
"""

import fcntl
import os
import sys
import tempfile
import time


def take(number: int) -> int:
    """Hold the first of so many GPUs that is free; wait for one where none is."""
    while True:
        for gpu in range(number):
            path = os.path.join(tempfile.gettempdir(), f"galaxies-gpu-{os.getuid()}-{gpu}.lock")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            os.set_inheritable(descriptor, True)
            return gpu
        time.sleep(1)


def main() -> None:
    number, command = int(os.environ.get("GPUS", "0")), sys.argv[1:]
    if number and "CUDA_VISIBLE_DEVICES" not in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(take(number))
    os.execv(sys.executable, [sys.executable, *command])


if __name__ == "__main__":
    main()
