"""A real Slurm of one node, on this host, for tests: munge, slurmctld and slurmd of Debian's slurm-wlm.

    python tests/slurm_node.py start FOLDER     # as root; prints the line that a shell needs to use it
    python tests/slurm_node.py stop FOLDER

Everything that it writes lies in FOLDER, a path of at most 60 characters: sockets are in it. Nothing of a Slurm that is
installed here is read or changed: it listens on ports of its own, on the loopback address alone. Needs
``apt-get install --no-install-recommends slurm-wlm munge``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
CPUS = 4  # that the node says it has: as many jobs of one at once
CONFIG = """
ClusterName=benchlib
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
MailProg=/bin/true
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,requeue_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=10
InactiveLimit=0
NodeName=one NodeHostname=localhost NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=test Nodes=one Default=YES MaxTime=60 State=UP
"""


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in NEEDED if shutil.which(name, path=_path()) is None]


def _path() -> str:
    return f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"


def start(folder: Path) -> dict[str, str]:
    """Start it; returns what the environment of its users needs. Raises RuntimeError where it does not come up."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    config = folder / "slurm.conf"
    ports = free_ports(2)
    config.write_text(
        CONFIG.format(folder=folder, controller=ports[0], daemon=ports[1], cpus=CPUS).lstrip()
    )
    env = os.environ | {"PATH": _path(), "SLURM_CONF": str(config)}
    munged = ["munged", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munged += [f"--log-file={folder}/munged.log", f"--pid-file={folder}/munged.pid"]
    munged += [f"--seed-file={folder}/munge.seed"]
    for command in (munged, ["slurmctld"], ["slurmd", "-N", "one"]):
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode:
            stop(folder)
            raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
    for _ in range(100):
        asked = subprocess.run(["sinfo", "-h", "-o", "%T"], env=env, capture_output=True, text=True)
        if asked.stdout.strip() == "idle":
            return {"SLURM_CONF": str(config)}
        time.sleep(0.3)
    log = (folder / "slurmd.log").read_text() + (folder / "slurmctld.log").read_text()
    stop(folder)
    raise RuntimeError(f"the node is {asked.stdout.strip() or asked.stderr.strip()}\n{log[-3000:]}")


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def stop(folder: Path) -> None:
    """End what runs on it, and it."""
    env = os.environ | {"PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}
    if (folder / "slurmctld.pid").is_file():
        subprocess.run(["scancel", "--state=PENDING"], env=env, capture_output=True)
        subprocess.run(
            ["scancel", "--full", "--signal=KILL", "-u", "root"], env=env, capture_output=True
        )
        subprocess.run(["scancel", "-u", "root"], env=env, capture_output=True)
    for name in ("slurmd", "slurmctld", "munged"):
        end(folder / f"{name}.pid")


def end(pidfile: Path) -> None:
    """End the daemon that wrote a file of its process's number."""
    if not pidfile.is_file():
        return
    pid = int(pidfile.read_text())
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for _ in range(50):
            try:
                os.kill(pid, signum if _ == 0 else 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)


def main() -> None:
    """``start FOLDER`` or ``stop FOLDER``."""
    what, where = sys.argv[1:]
    folder = Path(where).resolve()
    if what == "stop":
        stop(folder)
        return
    if missing():
        sys.exit(f"not installed: {', '.join(missing())}")
    for name, value in start(folder).items():
        print(f"export {name}={value}")


if __name__ == "__main__":
    main()
