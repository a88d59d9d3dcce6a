"""``python -m pgjr_book plan | fetch | features | run | train | notebook | build | crate | address | verify``.

The commands of the book, which need a clone. What works without one is ``pgjr``.
"""

import argparse
import shutil
import sys
from pathlib import Path

from pgjr_lib.cli import CommandParser, existing_path, integer, run_command, shard
from pgjr_lib.errors import PGJRError


def main(arguments: list[str] | None = None) -> int:
    """Run one command. A mistake in the input is one sentence on stderr and exit status 2."""
    return run_command(build_parser(), arguments)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = CommandParser(prog="python -m pgjr_book", description="Plan, compute and build the book.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command, summary: str, profile: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        sub.set_defaults(command=command)
        if profile:
            sub.add_argument("--profile", default="embedded", help="a profile of experiments.yaml (default: embedded)")
        return sub

    only = {"type": lambda text: text.split(","), "default": [], "metavar": "NAME,...",
            "help": "only these experiments (default: all)"}  # fmt: skip
    sub = add("plan", _plan, "print runs, hours and disk of a profile before anything starts")
    sub.add_argument("--card", help="a machine of experiments.yaml whose rates to assume: cpu, t4, l4, a100 or h100")
    sub.add_argument("--only", **only)
    add("fetch", _fetch, "fetch the priors that a profile needs and that are not here")

    sub = add("features", _features, "encode the images of one feature folder of a profile")
    sub.add_argument("--key", required=True, help="the feature folder's name and its manifest, as KEY/manifest-K")
    sub.add_argument("--alone", action="store_true", help="note that nothing else runs, so that the seconds count")
    sub.add_argument("--device", choices=("cpu", "cuda"), help="where to encode (default: a GPU where there is one)")
    sub.add_argument("--shard", type=shard, default=(0, 1), metavar="I/N", help="make part I of N only")

    sub = add("run", _run, "compute the records of a profile that are missing")
    sub.add_argument("--only", **only)
    sub.add_argument("--seed", type=integer(0), metavar="N", help="only the runs of this seed (default: all)")
    sub.add_argument("--shard", type=shard, default=(0, 1), metavar="I/N", help="part I of N of the runs")
    sub.add_argument("--own", action="store_true", help="leave runs that another experiment computes to that one")
    sub.add_argument("--device", choices=("cpu", "cuda"), help="where to train (default: a GPU where there is one)")
    sub.add_argument("--not-alone", action="store_true", help="note in the records that their seconds cannot be compared")

    sub = add("train", _train, "train one run and write its record", profile=False)
    sub.add_argument(
        "settings", nargs="+", metavar="FIELD=VALUE",
        help="fields of a run: method=gjr dataset=digits split=all backbone=small image_size=16 epochs=20",
    )  # fmt: skip
    sub.add_argument("--out", type=Path, default=Path("build/train"), help="folder of features, checkpoint and record")

    sub = add("notebook", _notebook, "execute one notebook of a profile")
    sub.add_argument("name", help="its name without .ipynb")
    sub.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="another parameter")

    sub = add("build", _build, "stage and render the book of a profile")
    sub.add_argument("--pdf", action="store_true", help="print the whole book as a PDF, too")

    sub = add("crate", _crate, "pack the committed records and the built figures as an RO-Crate, for an archive", profile=False)
    sub.add_argument("--out", type=Path, default=Path("build/grid-jigsaw-crate.zip"), help="the zip to write")

    sub = add("address", _address, "write the repository's address into notebooks and README", profile=False)
    sub.add_argument("address", help="https://github.com/<owner>/<name>")
    sub.add_argument("--commit", default="main", help="branch, tag or commit (default: main)")

    sub = add("verify", _verify, "check run records, and what pgjr verify checks", profile=False)
    sub.add_argument("paths", nargs="+", type=existing_path)
    return parser


def _plan(options) -> None:
    from pgjr_book import make
    from pgjr_book.manifest import home, known, load_manifest
    from pgjr_book.show.plan import plan_text

    profile = known(load_manifest().profiles, options.profile, "profile")
    plan = make.plan(options.profile, only=options.only)
    cost = None if profile.records else make.cost(plan, options.card)
    print(plan_text(profile, plan, cost, shutil.disk_usage(home()).free))


def _fetch(options) -> None:
    from pgjr_book.make import fetch

    for prior in fetch(options.profile):
        print(f"fetched {prior}")


def _features(options) -> None:
    from pgjr_book.hour import check_machine
    from pgjr_book.make import plan
    from pgjr_book.manifest import known
    from pgjr_lib.priors.cache import extract

    check_machine(options.profile, options.device)
    features = plan(options.profile).features
    manifests = {f"{path.parent.name}/{path.stem}": path for path in features}
    path = known(manifests, options.key, f"feature folder of profile {options.profile}")
    extract(features[path], path.parent, shard=options.shard, alone=options.alone, device=options.device or "auto")


def _run(options) -> None:
    from pgjr_book.hour import check_machine
    from pgjr_book.make import run_missing

    check_machine(options.profile, options.device)
    run_missing(options.profile, options.only, seed=options.seed, shard=options.shard, own=options.own,
                alone=not options.not_alone, device=options.device)  # fmt: skip


def _train(options) -> None:
    from pgjr_book import make
    from pgjr_book.manifest import load_manifest, validated
    from pgjr_book.records import record_path
    from pgjr_book.run_config import RunConfig
    from pgjr_lib.storage import parse_yaml

    fields = {}
    for setting in options.settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise PGJRError(f"{setting!r} is not of the form FIELD=VALUE: write for example method=gjr.")
        fields[name] = parse_yaml(value, repr(setting))
    start = load_manifest().methods.get(str(fields.get("method")), {})
    config = validated(RunConfig, {**start, **fields}, "train")
    scores = make.run(config, options.out)["scores"]["plain"]
    means = ", ".join(f"{name.upper()} {sum(scores[name]) / len(scores[name]):.3f}" for name in ("acc", "nmi", "ari"))
    print(f"{means} (mean over {len(scores['acc'])} k-means seeds); record: {record_path(config, options.out)}")


def _notebook(options) -> None:
    from pgjr_book.execution import execute_notebook
    from pgjr_book.make import build_root
    from pgjr_book.manifest import home
    from pgjr_lib.storage import parse_yaml

    values = {name: parse_yaml(value, f"-p {name}") for name, value in options.p}
    output = build_root(options.profile) / "notebooks" / f"{options.name}.ipynb"
    execute_notebook(home() / "notebooks" / f"{options.name}.ipynb", output, {"profile": options.profile, **values})


def _build(options) -> None:
    from pgjr_book.book import build

    print(f"the book is at {build(options.profile, options.pdf)}")


def _crate(options) -> None:
    from pgjr_book.crate import write_crate

    print(f"{options.out}: {write_crate(options.out)} records")


def _address(options) -> None:
    from pgjr_book.address import set_address
    from pgjr_book.manifest import home

    print(f"{set_address(home(), options.address, options.commit)} notebooks changed")


def _verify(options) -> None:
    from pgjr_lib.cli import verify_file

    for path in options.paths:
        if not _verified_records(path):
            verify_file(path)
        print(f"{path}: whole")


def _verified_records(path: Path) -> bool:
    """Check ``path`` if it is a record or a folder of records; False where it is something else."""
    from pgjr_lib.storage import read_json

    if path.is_dir():
        names = sorted(path.glob("*.json"))
        if not names or any(len(name.stem) != 16 for name in names):
            return False
        for name in names:
            _verified_record(name)
        return True
    if path.suffix != ".json":
        return False
    parts = read_json(path).keys()
    if not parts & {"config", "scores"} or parts & {"architecture", "stamp", "files"}:  # a sidecar, note or manifest
        return False
    _verified_record(path)
    return True


def _verified_record(path: Path) -> None:
    from pgjr_book.arrival import check_record

    for note in check_record(path):
        print(f"{path}: {note}")


if __name__ == "__main__":
    sys.exit(main())
