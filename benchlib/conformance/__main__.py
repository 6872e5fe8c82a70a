"""``python -m benchlib.conformance FILE``: a line a check; exit status 1 if one fails."""

from __future__ import annotations

import sys

from benchlib.conformance import results
from benchlib.contracts import BenchError


def main(words: list[str]) -> int:
    """Check the files and folders named; 0: all is met, 1: something is not, 2: nothing named."""
    if not words or words[0].startswith("-"):
        print("usage: python -m benchlib.conformance FILE_OR_FOLDER ...", file=sys.stderr)
        return 2
    failed = 0
    try:
        for word in words:
            for result in results(word):
                print(result.line(), flush=True)
                failed += result.state == "failed"
    except BenchError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 1
    if failed:
        print(f"conformance: {failed} not met", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
