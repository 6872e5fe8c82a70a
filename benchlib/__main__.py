"""``python -m benchlib``: the command ``benchlib``. Layer 5."""

import sys

from benchlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
