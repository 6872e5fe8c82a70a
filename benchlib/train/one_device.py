"""The process of one device, as ``accelerate launch`` starts it: see ``devices.py``. Layer 3.

python -m benchlib.train.one_device order.json
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

import psutil
import torch

from benchlib.params import Suite
from benchlib.plan import RunPlan, open_run
from benchlib.plugins import activate
from benchlib.train.devices import Order, failure_file
from benchlib.train.loop import Share
from benchlib.train.record import train_share


def main(words: list[str]) -> None:
    """Train this device's share of the run that the file named in ``words`` orders."""
    file = Path(words[0])
    share = Share(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    _end_with_the_one_who_started_us(file.parent)
    if not share.is_first:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (open to the end)
    try:
        order = Order(**json.loads(file.read_text(encoding="utf-8")))
        train_share(_plan(order), Path(order.begun), order.digest, share)
    except BaseException as error:
        _fail(failure_file(file.parent, share.rank), error, share)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _plan(order: Order) -> RunPlan:
    suite = Suite.model_validate_json(json.dumps(order.suite))
    suite = suite.model_copy(update={"folder": Path(order.folder)})
    activate(suite.plugins, suite.folder, "plugins")
    return open_run(suite, order.key)


def _end_with_the_one_who_started_us(folder: Path) -> None:
    """End this process when the one who started it is gone, be it by a kill -9; nothing is left.

    Standard input is a pipe whose other end that process alone holds. It is read without Python's
    own buffer, which may not be locked when the interpreter ends.
    """

    def watch() -> None:
        while os.read(0, 1):
            pass
        for child in psutil.Process().children(recursive=True):
            child.kill()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _fail(file: Path, error: BaseException, share: Share) -> NoReturn:
    """Leave what ended this process and end it at once: the others can do nothing without it."""
    told = {
        "rank": share.rank,
        "time": time.time(),
        "kind": type(error).__name__,
        "said": str(error),
        "traceback": traceback.format_exc(),
    }
    try:
        file.write_text(json.dumps(told), encoding="utf-8")
    except OSError:  # a full disk
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
