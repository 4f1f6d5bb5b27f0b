"""Run a command of the project on the first free GPU of this machine.

    GPUS=2 python on_free_gpu.py COMMAND.py FLAGS

Without GPUS, or when CUDA_VISIBLE_DEVICES is set already, as by Slurm, no GPU is chosen. The command inherits a lock
on its GPU, which the system releases when the command ends.
"""

import fcntl
import os
import sys
import tempfile
import time


def take(num_gpus: int) -> int:
    """Lock the first free GPU of `num_gpus` and return its number; wait while all are locked."""
    while True:
        for gpu in range(num_gpus):
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
    num_gpus, command = int(os.environ.get("GPUS", "0")), sys.argv[1:]
    if num_gpus and "CUDA_VISIBLE_DEVICES" not in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(take(num_gpus))
    os.execv(sys.executable, [sys.executable, *command])


if __name__ == "__main__":
    main()
