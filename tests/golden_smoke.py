"""Write tests/golden/smoke.csv from the rows that the smoke suite left: run it after `dvc repro`
there, when a raised version has moved numbers, and say in the commit by how much."""

from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parent.parent
COLUMNS = ["run", "dataset", "image", "metric", "protocol", "swap", "seed", "value", "version"]


def smoke_rows(folder: Path) -> pd.DataFrame:
    """The rows of all runs in a folder of rows, as text, in a fixed order."""
    frames = []
    for file in sorted(folder.glob("*.csv")):
        rows = pd.read_csv(file, keep_default_na=False, dtype=str)
        frames.append(rows.assign(run=file.stem))
    rows = pd.concat(frames, ignore_index=True)[COLUMNS]
    return rows.sort_values(COLUMNS[:-2]).reset_index(drop=True)


if __name__ == "__main__":
    made = smoke_rows(ROOT / "results" / "smoke" / "rows")
    made.to_csv(ROOT / "tests" / "golden" / "smoke.csv", index=False, lineterminator="\n")
    print(f"{len(made)} rows")
