"""The command ``benchlib``: what it prints, how it refuses, how it starts and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from conftest import small_params, write_params
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from typer.testing import CliRunner

from benchlib import records, registry
from benchlib.cli import app, checking, fetching, listing, main, running
from benchlib.cli._suites import find_suite, suites
from benchlib.imageio import write_png
from benchlib.params import load_params
from benchlib.schema import params_schema

ROOT = Path(__file__).parent.parent
COMMANDS = {
    "run": "benchlib run demo",
    "page": "benchlib page demo --open",
    "check": "benchlib check demo",
    "shard": "benchlib shard spt priors@sam-train -n 8",
    "merge": "benchlib merge /mnt/other/benchlib spt --dry",
    "schema": "benchlib schema --out params.schema.json",
    "ls": "benchlib ls methods",
    "fetch": "benchlib fetch --suite spt-small",
    "score": "benchlib score --restored out --reference sharp --protocol basicsr-y@4",
    "restore": "benchlib restore --suite demo --run map photo.jpg restored",
    "papers": "benchlib papers spt 4",
    "audit": "benchlib audit sam-deblur --verdict all",
}
HEAVY = {"torch", "pandas", "dvc", "numpy", "scipy", "matplotlib", "skimage", "rich"}


def call(capsys, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of one call in this process."""
    capsys.readouterr()
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys, *words: str, code: int = 1) -> str:
    """The one line on stderr of a call that is refused."""
    got, _, err = call(capsys, *words)
    assert got == code, err
    assert err.count("\n") == 1 and err.startswith("benchlib: ") and "Traceback" not in err
    return err


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """``benchlib score`` sets it for its own process; tests that follow keep theirs."""
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The small suite's folder, as the current one."""
    write_params(tmp_path, small_params())
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---------------------------------------------------------------- starting, help


def test_help_and_listing_import_nothing_heavy():
    code = (
        "import sys; from benchlib.cli import main; "
        "codes = [main(words) for words in (['--help'], ['score', '--help'], ['ls', 'methods'])]; "
        f"print(codes, sorted({HEAVY!r} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[0, 0, 0] []"


def test_help_tells_a_newcomer_what_to_type():
    out = CliRunner().invoke(app, ["--help"]).stdout
    for words in ("benchlib run demo", "benchlib score --restored", "benchlib restore --suite"):
        assert words in out
    assert "Exit codes: 0 fine; 1 " in out
    for name in COMMANDS:
        (line,) = re.findall(rf"^  {name} .*", out, re.MULTILINE)
        assert not line.endswith("..."), "a short help that is cut off"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    out = CliRunner().invoke(app, [name, "--help"]).stdout
    assert f"Example: {COMMANDS[name]}" in " ".join(out.split())


def test_no_command_is_without_a_test_of_its_help():
    assert {one.name for one in app.registered_commands} == set(COMMANDS)


def test_every_example_and_first_hint_can_be_read_by_the_command(monkeypatch):
    """Examples name options that are there: reading them ends in no usage error."""
    from benchlib.cli import HELP

    lines = [*COMMANDS.values(), *re.findall(r"benchlib [a-z]+[^,\n]*?(?=  |,|\n|$)", HELP)]
    assert len(lines) > len(COMMANDS) + 5
    command = typer.main.get_command(app)
    for line in lines:
        _, name, *words = line.split()
        command.commands[name].make_context(name, list(words))


def test_python_m_and_the_script_are_one_command():
    run = subprocess.run(
        [sys.executable, "-m", "benchlib", "--version"], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"benchlib \d+\.\d+\.\d+\n", run.stdout)
    assert 'benchlib = "benchlib.cli:main"' in (ROOT / "pyproject.toml").read_text()


def test_the_shell_completes_names():
    env = os.environ | {"_BENCHLIB_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    env["COMP_WORDS"] = "benchlib ls me"
    run = subprocess.run(
        [sys.executable, "-m", "benchlib"], capture_output=True, text=True, env=env
    )
    assert run.stdout.split() == ["methods", "metrics"]


# ---------------------------------------------------------------- refusing


def test_wrong_usage_is_one_line_and_2(capsys):
    assert "did you mean methods?" in refused(capsys, "ls", "mehtods", code=2)
    assert "'score'" in refused(capsys, "scroe", code=2)
    assert "--restored" in refused(capsys, "score", "--restred", "x", code=2)
    assert "benchlib score --help" in refused(capsys, "score", code=2)
    assert "nothing named" in refused(capsys, "fetch", code=2)
    assert "inconsistent" in refused(capsys, "audit", "--verdict", "wrong", code=2)
    assert "--suite" in refused(capsys, "ls", "methods", "--suite", "demo", code=2)


def test_without_words_the_help_is_shown(capsys):
    code, out, _ = call(capsys)
    assert code == 2 and "benchlib run demo" in out


def test_unknown_names_suggest_the_nearest(capsys):
    assert "did you mean demo?" in refused(capsys, "run", "dmeo")
    assert "did you mean demo?" in refused(capsys, "page", "dmeo")
    assert "did you mean demo?" in refused(capsys, "check", "dmeo")
    assert "did you mean map?" in refused(capsys, "run", "demo", "train@mpa")
    assert "did you mean train?" in refused(capsys, "run", "demo", "trian@map")
    assert "one stage" in refused(capsys, "run", "demo", "tables@map")
    assert "did you mean astronaut?" in refused(capsys, "fetch", "astronat")
    assert "did you mean spt?" in refused(capsys, "papers", "sptt")
    assert "did you mean spt?" in refused(capsys, "audit", "sptt")


def test_a_typo_in_params_stops_every_command_of_a_suite(folder, capsys):
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("log_every", "log_evry"))
    for words in (["run"], ["check"], ["page"], ["ls", "runs"], ["fetch", "--suite", "."]):
        assert "did you mean log_every?" in refused(capsys, *words)


def test_no_suite_here_says_what_to_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in (["run"], ["check"], ["page"], ["ls", "runs"]):
        assert "no params.yaml in this folder; name a suite (demo, " in refused(capsys, *words)
    assert "no such file" in refused(capsys, "run", "./nowhere")


def test_a_reader_that_leaves_and_ctrl_c_end_quietly():
    script = f"{sys.executable} -m benchlib ls assets --json | head -n 1; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "[\n", "")
    code = (
        "import os, signal, sys; from benchlib import cli; from benchlib.cli import listing; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "  # ignored in the background
        "listing.KINDS['papers'] = lambda: os.kill(os.getpid(), signal.SIGINT); "
        "sys.exit(cli.main(['ls', 'papers']))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "")


# ---------------------------------------------------------------- ls


def test_every_kind_is_listed_with_a_sentence_each(capsys):
    code, out, _ = call(capsys, "ls", "--json")
    assert code == 0
    found = json.loads(out)
    assert set(found) == set(listing.KINDS) - {"runs"}
    for kind, lines in found.items():
        for line in lines:
            assert line["about"].strip() and "\n" not in line["about"], (kind, line["name"])
    for kind, where in listing.FOLDERS.items():
        assert [line["name"] for line in found[kind]] == registry.names(where)
    assert "short" not in found and len(found["suites"]) == len(suites())


def test_runs_of_a_suite_are_listed(folder, capsys):
    code, out, _ = call(capsys, "ls", "runs")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["blurred", "no-prior", "cat", "map"]
    _, out, _ = call(capsys, "ls", "runs", "--suite", str(folder / "params.yaml"), "--json")
    assert json.loads(out)[3]["prior"] == "sam-test"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("Wide\nlines, e.g. this. Then\n\nmore.", "Wide lines, e.g. this."),
        ("SPT (Xiao et al. 2023): it. More.", "SPT (Xiao et al. 2023): it."),
        ("No point", "No point"),
        ("Of 0.5 dB. `code` follows.", "Of 0.5 dB."),
        (None, ""),
    ],
)
def test_a_sentence_ends_at_its_point(text, first):
    assert listing.first_sentence(text) == first


# ---------------------------------------------------------------- suites


def test_a_suite_is_found_by_name_folder_and_file(folder):
    assert find_suite(None) == Path("params.yaml")
    assert find_suite(str(folder)) == folder / "params.yaml"
    assert find_suite(str(folder / "params.yaml")) == folder / "params.yaml"
    assert find_suite("demo") == ROOT / "params.yaml"
    assert find_suite("smoke") == ROOT / "suites" / "smoke" / "params.yaml"
    assert load_params(find_suite("demo")).suite == "demo"


def test_check_says_fine_or_one_line_each(folder, capsys):
    code, out, _ = call(capsys, "check", ".", "--json")
    assert code == 0
    (line,) = json.loads(out)
    assert line["ok"] and line["what"] == "small"
    params = small_params()
    params["runs"]["map"]["method"]["dropuot"] = 0.5
    write_params(folder, params)
    assert "did you mean dropout?" in refused(capsys, "check")
    code, out, _ = call(capsys, "check", "--json")
    assert code == 1 and "dropuot" in json.loads(out)[0]["error"]


METRIC = '''"""Twice the root mean square error: 0 for equal images."""

VERSION = 1
NAME, SHOWN, UNIT, FACTOR = "RMSE2", "RMSE2", "levels", 1
LOWER_IS_BETTER, DIGITS, RANGE = True, 2, (0.0, 510.0)
READS, ASSETS, PROTOCOLS = ("restored", "reference"), (), ("basicsr-rgb",)


def measure(restored, reference):
    """RMSE2 of float64 in [0,255]."""
    return 2 * float(((restored - reference) ** 2).mean() ** 0.5)
'''


def test_check_tries_a_file_of_ones_own_against_its_contract(tmp_path, capsys):
    """In a process of its own: what is checked is known to the registry from then on."""
    file = tmp_path / "doubled.py"
    assert "no such file" in refused(capsys, "check", str(file))
    file.write_text(METRIC)
    done = run_command("check", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") > 5
    file.write_text(METRIC.replace("0.0, 510.0", "0.0, 1.0"))
    done = run_command("check", str(file), "--json")
    assert done.returncode == 1
    assert not all(line["ok"] for line in json.loads(done.stdout))


def test_check_tries_every_file_of_a_plug_in_folder(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "doubled.py").write_text(METRIC)
    wrong = METRIC.replace("0.0, 510.0", "0.0, 1.0")
    (tmp_path / "metrics" / "tripled.py").write_text(wrong)
    done = run_command("check", str(tmp_path), "--json")
    assert done.returncode == 1, done.stderr
    lines = json.loads(done.stdout)
    said = {line["what"]: [] for line in lines}
    for line in lines:
        said[line["what"]].append(line["ok"])
    assert sorted(said) == ["metrics/doubled", "metrics/tripled"]
    assert all(said["metrics/doubled"]) and not all(said["metrics/tripled"])


def run_command(*words: str) -> subprocess.CompletedProcess:
    """``benchlib`` as a process of its own."""
    command = [sys.executable, "-m", "benchlib", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_page_prints_where_it_is_once_it_is_there(folder, capsys, monkeypatch):
    assert "benchlib run" in refused(capsys, "page")
    report = folder / "results" / "small" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<html>")
    code, out, _ = call(capsys, "page")
    assert (code, out) == (0, f"{report}\n")
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda where: opened.append(where) or True)
    assert call(capsys, "page", "--open")[0] == 0
    assert opened == [report.as_uri()]


def fake_dvc(folder: Path, monkeypatch, script: str) -> None:
    """In the place of ``python -m dvc``: a script that knows its words as ``$@``."""
    (folder / "dvc.yaml").write_text("stages: {}\n")
    fake = folder / "python"
    fake.write_text(f"#!/bin/bash\nshift 2\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))


def test_run_calls_dvc_in_the_suites_folder(folder, monkeypatch, capfd):
    fake_dvc(folder, monkeypatch, 'echo "$@"; pwd; command -v python; exit 0')
    monkeypatch.chdir(folder.parent)
    assert main(["run", str(folder), "train@map", "evaluate", "--force"]) == 0
    out = capfd.readouterr().out.splitlines()
    assert out == ["repro --force train@map evaluate", str(folder), str(folder / "python")]
    report = folder / "results" / "small" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<html>")
    assert main(["run", str(folder)]) == 0
    assert f"the page: {report.relative_to(folder.parent)}" in capfd.readouterr().out


def test_run_takes_a_stage_of_the_suite_that_is_here(folder, monkeypatch, capfd):
    fake_dvc(folder, monkeypatch, 'echo "$@"')
    assert main(["run", "train@map", "--dry"]) == 0
    assert capfd.readouterr().out == "repro --dry train@map\n"


def test_run_passes_dvcs_exit_code_on(folder, monkeypatch, capfd):
    fake_dvc(folder, monkeypatch, "exit 255")
    assert main(["run"]) == 255
    assert "run it again to go on" in capfd.readouterr().err
    fake_dvc(folder, monkeypatch, "kill -9 $$")
    assert main(["run"]) == 128 + signal.SIGKILL


def test_run_without_a_pipeline_says_so(folder, capsys):
    assert "no dvc.yaml" in refused(capsys, "run")


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_signal_reaches_dvc_and_its_end_is_waited_for(folder, signum, code):
    """Ctrl-C reaches the whole process group; SIGTERM reaches us alone and is passed on."""
    child = (
        "import signal, sys, time\n"
        "for each in (signal.SIGINT, signal.SIGTERM):\n"
        "    signal.signal(each, lambda n, _: (open('got', 'w').write(str(n)), sys.exit(128 + n)))\n"
        "open('ready', 'w').close()\n"
        "time.sleep(60)\n"
    )
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / "dvc.py").write_text(child)  # `python -m dvc` takes the one in its folder
    process = subprocess.Popen(
        [sys.executable, "-m", "benchlib", "run"],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for _ in range(1200):
        if (folder / "ready").exists():
            break
        time.sleep(0.1)
    if signum == signal.SIGINT:
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert (folder / "got").read_text() == str(int(signum))
    assert b"Traceback" not in err


# ---------------------------------------------------------------- schema


def test_the_committed_schema_is_the_models():
    """Renew it: benchlib schema --out params.schema.json."""
    assert json.loads((ROOT / "params.schema.json").read_text()) == params_schema()


def test_the_schema_of_a_suite_knows_its_plug_ins(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "doubled.py").write_text(METRIC)
    write_params(tmp_path, small_params() | {"plugins": ["."]})
    done = run_command("schema", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "doubled" in json.loads(done.stdout)["properties"]["metrics"]["items"]["enum"]
    committed = json.loads((ROOT / "params.schema.json").read_text())
    assert "doubled" not in committed["properties"]["metrics"]["items"]["enum"]


def test_the_schema_takes_every_suite_and_finds_typos():
    schema = json.loads((ROOT / "params.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for path in suites().values():
        assert not list(validator.iter_errors(YAML(typ="safe").load(path.read_text()))), path
    assert not list(validator.iter_errors(small_params()))
    for change in (
        lambda params: params["runs"]["map"]["method"].update(dropuot=1),
        lambda params: params["runs"]["map"]["method"].update(name="mpa"),
        lambda params: params["runs"]["map"].update(training={"itreations": 5}),
        lambda params: params["data"]["test/shake-blur"].update(copys=1),
        lambda params: params["data"]["test/shake-blur"].pop("degrade"),
        lambda params: params["training"].update(iterations="many"),
        lambda params: params.update(metrics=["psrn"]),
        lambda params: params["runs"].update({"a.b": params["runs"]["map"]}),
    ):
        wrong = json.loads(json.dumps(small_params()))
        change(wrong)
        assert list(validator.iter_errors(wrong))


# ---------------------------------------------------------------- fetch, papers, audit


def test_fetch_knows_all_that_a_suite_needs():
    demo = fetching.needed(load_params(ROOT / "params.yaml"))
    assert {"astronaut", "chelsea", "mobilesam-encoder", "mobilesam-decoder"} <= set(demo)
    assert len(demo) == len(set(demo))
    spt = fetching.needed(load_params(ROOT / "suites" / "spt-small" / "params.yaml"))
    assert {"imdn-x2", "imdn-x3", "imdn-x4"} <= set(spt)


def test_fetch_says_where_to_put_what_is_had_by_hand(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BENCHLIB_DATA", str(tmp_path))
    said = refused(capsys, "fetch", "gopro", "--cache", str(tmp_path / "cache"))
    assert "get it: " in said and str(tmp_path / "gopro") in said


def test_papers_and_audit_give_json(capsys):
    _, out, _ = call(capsys, "papers", "spt", "4", "--json")
    numbers = json.loads(out)
    assert numbers[0]["printed"] == "32.4332" and len(numbers) == 8
    _, out, _ = call(capsys, "papers", "--json")
    assert {one["paper"] for one in json.loads(out)} >= {"spt", "sam-deblur"}
    _, out, _ = call(capsys, "audit", "spt", "--json")
    assert {one["verdict"] for one in json.loads(out)} == {"inconsistent"}
    code, out, _ = call(capsys, "audit", "spt", "--verdict", "all")
    assert code == 0 and "recomputed" in out and out.splitlines()[-1].startswith("spt ")


# ---------------------------------------------------------------- score, restore


def pictures(folder: Path, *, change: int = 0) -> Path:
    for place, name in enumerate(("a", "b")):
        image = np.random.default_rng(place).integers(0, 200, (24, 24, 3), dtype=np.uint8)
        write_png(folder / f"{name}.png", image + np.uint8(change * (place + 1)))
    return folder


def test_score_prints_means_and_writes_every_image(tmp_path, capsys):
    ours, theirs = pictures(tmp_path / "ours", change=3), pictures(tmp_path / "theirs")
    words = ["score", "--restored", str(ours), "--reference", str(theirs)]
    words += ["--protocol", "basicsr-rgb", "--protocol", "basicsr-y@2"]
    code, out, _ = call(capsys, *words, "--out", str(tmp_path / "out.csv"))
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split()[:5] == ["set", "protocol", "metric", "images", "mean"]
    assert lines[1].split()[:6] == [".", "basicsr-rgb", "PSNR", "2", "35.578", "dB"]
    assert " to " in lines[1] and len(lines) == 6
    assert len(records.read_table(tmp_path / "out.csv")) == 8
    write_png(
        ours / "a.png", np.random.default_rng(0).integers(0, 200, (24, 24, 3), dtype=np.uint8)
    )
    _, out, _ = call(capsys, *words)
    assert "1 exact" in out and "inf" not in out
    _, out, _ = call(capsys, *words, "--json")
    found = json.loads(out)
    assert found["means"][0]["exact"] == 1 and found["means"][0]["mean"] is not None
    assert found["images"][0]["value"] is None and found["images"][0]["exact"]


def test_score_knows_before_measuring_that_it_cannot_write(tmp_path, capsys, monkeypatch):
    ours, theirs = pictures(tmp_path / "ours"), pictures(tmp_path / "theirs")
    monkeypatch.setattr("benchlib.scoring.score", None)
    words = ["score", "--restored", str(ours), "--reference", str(theirs)]
    words += ["--protocol", "basicsr-y", "--out"]
    assert "is a folder" in refused(capsys, *words, str(tmp_path))
    assert "nothing can be written" in refused(capsys, *words, str(ours / "a.png" / "out.csv"))


def test_names_from_outside_are_spelled_out(tmp_path, capsys):
    ours, theirs = pictures(tmp_path / "ours"), pictures(tmp_path / "theirs")
    words = ["score", "--restored", str(ours), "--reference", str(theirs)]
    words += ["--protocol", "basicsr-y"]
    (ours / "\x1b[31mred.png").write_bytes(b"")
    assert "\\x1b[31mred" in refused(capsys, *words)
    (ours / "\x1b[31mred.png").unlink()
    (ours / os.fsdecode(b"\xff.png")).write_bytes(b"")
    assert "no UTF-8" in refused(capsys, *words)


def test_an_error_of_the_system_is_one_line(capsys, monkeypatch):
    def fail(*_words):
        raise OSError(28, "No space left on device", "rows.csv")

    monkeypatch.setitem(listing.KINDS, "papers", fail)
    assert refused(capsys, "ls", "papers") == "benchlib: rows.csv: No space left on device\n"


def test_score_refuses_in_one_line(tmp_path, capsys):
    ours = pictures(tmp_path / "ours")
    words = ["score", "--restored", str(ours), "--reference"]
    assert "the same folder" in refused(capsys, *words, str(ours), "--protocol", "basicsr-y")
    assert "no such folder" in refused(capsys, *words, "nowhere", "--protocol", "basicsr-y")
    said = refused(capsys, *words, str(ours), "--protocol", "basicsr-z")
    assert "did you mean basicsr-y" in said


def test_restore_writes_pictures_and_nothing_over_yours(small, tmp_path, capsys, monkeypatch):
    from benchlib.plan import open_run
    from benchlib.train.record import train

    monkeypatch.chdir(tmp_path)
    mine = pictures(tmp_path / "mine")
    words = ["restore", "--run", "no-prior"]
    said = refused(capsys, *words, str(mine), "out")
    assert "not trained here; first: benchlib run . train@no-prior" in said
    train(open_run(small, "no-prior"))
    code, out, _ = call(capsys, *words, str(mine), "out")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if "out/" in line] == [
        "out/a.png",
        "out/b.png",
    ]
    assert call(capsys, *words, str(mine / "b.png"), "one")[0] == 0
    assert (tmp_path / "one" / "b.png").read_bytes() == (tmp_path / "out" / "b.png").read_bytes()
    assert "is not empty" in refused(capsys, *words, str(mine), "out")
    assert "is not empty" in refused(capsys, *words, str(mine), str(mine))
    assert "no such file" in refused(capsys, *words, "nowhere", "new")
    (tmp_path / "empty.png").write_bytes(b"")
    assert "empty.png: not a readable" in refused(capsys, *words, "empty.png", "new")
    assert "no image by its name" in refused(capsys, *words, "params.yaml", "new")
    assert "did you mean no-prior?" in refused(capsys, "restore", "--run", "noprior", "mine", "new")
    (mine / "c.png").write_bytes(b"no image")
    code, out, err = call(capsys, *words, str(mine), "new")
    assert code == 1 and "1 of 3 pictures were left out" in err and "c.png" in out


def test_stages_are_those_of_the_pipeline():
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    assert set(stages) == {*running.KEYED, *running.ALONE}
    assert {name for name, stage in stages.items() if "foreach" in stage} == set(running.KEYED)


def test_docs_page_tells_every_command():
    page = (ROOT / "docs" / "command.md").read_text()
    for name in COMMANDS:
        assert f"benchlib {name}" in page
    assert checking.check.__doc__
