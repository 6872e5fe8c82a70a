"""``benchlib restore``: one's own pictures by a trained run of a suite."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchlib.cli._say import say, warn
from benchlib.cli._suites import SUITE_HELP, complete_run, complete_suite, name_of, open_suite
from benchlib.contracts import BenchError


def restore(
    pictures: Annotated[
        Path, typer.Argument(metavar="IN", help="A picture, or a folder of pictures.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write; new or empty.")],
    run: Annotated[
        str,
        typer.Option(
            "--run", help="A run of it: benchlib ls runs --suite NAME.", autocompletion=complete_run
        ),
    ],
    suite: Annotated[
        str | None, typer.Option("--suite", help=SUITE_HELP, autocompletion=complete_suite)
    ] = None,
    words: Annotated[
        str | None,
        typer.Option(
            "--say",
            metavar="TEXT",
            help="What to do, in words, of a run that reads words: 'remove the noise'.",
        ),
    ] = None,
    part: Annotated[
        str,
        typer.Option(
            "--part",
            metavar="PART",
            help="Which part of the run's prior TEXT takes the place of, where several are words; "
            "without it: degradation.",
        ),
    ] = "",
) -> int:
    """Restore pictures by a trained run of a suite; writes OUT/<name>.png.

    What the run reads besides the picture (masks, say) is computed with the run's own settings.
    --say puts words of yours in the place of what the run's prior says of the picture. Long
    pictures are restored in overlapping tiles.

    Example: benchlib restore --suite demo --run map photo.jpg restored
    """
    if part and words is None:
        raise BenchError(f"--part {part}: there is nothing to say; add --say TEXT")
    opened = open_suite(suite)
    opened.run(run)
    source, target = pictures.expanduser(), out.expanduser()
    _check_places(source, target)
    from benchlib.plan import open_run

    plan = open_run(opened, run)
    if words is not None:
        from benchlib.report.instruction import part_of

        part = part_of(opened, plan, part)
    weights = plan.places.weights(plan.entry.seeds[0])
    if not weights.exists():
        raise BenchError(
            f"{opened.suite}: run '{run}' is not trained here; first: benchlib run "
            f"{name_of(opened)} train@{run}"
        )
    from benchlib.imageio import SUFFIXES, image_files, read_image
    from benchlib.report.explore import restore_folder

    with ExitStack() as stack:
        if source.is_file():
            if source.suffix.lower() not in SUFFIXES:
                raise BenchError(f"{source}: no image by its name; expected {', '.join(SUFFIXES)}")
            read_image(source)  # else the copy would be named
            folder = Path(stack.enter_context(TemporaryDirectory()))
            (folder / source.name).symlink_to(source.resolve())
            source = folder
        given = len(image_files(source))
        made = restore_folder(opened, run, source, target, say=words, part=part)
    for line in made.itertuples():
        say(f"{line.restored}   {line.seconds:.1f} s")
    if len(made) < given:
        warn(f"{given - len(made)} of {given} pictures were left out, see above")
        return 1
    return 0


def _check_places(source: Path, target: Path) -> None:
    if not source.exists():
        raise BenchError(f"{source}: no such file or folder; expected pictures")
    if not source.is_dir() and not source.is_file():
        raise BenchError(f"{source}: no regular file; expected a picture or a folder of pictures")
    if target.exists() and not target.is_dir():
        raise BenchError(f"{target}: a file; name a folder to write the restored pictures into")
    if target.is_dir() and any(target.iterdir()):
        raise BenchError(
            f"{target}: is not empty; name a new folder (nothing of yours is written over)"
        )
