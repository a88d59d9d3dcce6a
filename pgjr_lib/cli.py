"""The command line: ``pgjr extract | train | cluster | pretrain | verify``, and ``plan`` and ``run`` for the book."""

import argparse
import os
import sys
from pathlib import Path

from pgjr_lib import __version__
from pgjr_lib.errors import PGJRError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a mistake in the input is one sentence on stderr and exit status 2."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except PGJRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a file where a folder should be, no permission
        what = f"{error.filename}: " if error.filename else ""
        print(f"error: {what}{error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last finished part.", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(
        prog="pgjr", description="Grid Jigsaw Representation: cluster images without labels."
    )
    parser.add_argument("--version", action="version", version=f"pgjr {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command, summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=command)
        return sub

    sub = add("plan", _plan, "print a profile's runs, hours and disk before anything starts")
    sub.add_argument("--profile", default="embedded")

    sub = add("run", _run, "compute the records of a profile that are missing")
    sub.add_argument("--profile", default="embedded")
    sub.add_argument("--experiment", help="only this one (default: all)")
    sub.add_argument("--seed", type=int, help="only the runs of this seed (default: all)")
    sub.add_argument("--shard", default="0/1", help="i/n: only part i of n of the runs, for processes side by side")
    sub.add_argument("--own", action="store_true", help="leave runs that an earlier or a timed experiment shows to that one")
    sub.add_argument(
        "--not-alone", action="store_true", help="note in the records that their seconds are not to be used"
    )

    sub = commands.add_parser("extract", help="encode images and their views once, with a frozen prior",
                              description="Encode images and their views once, with a frozen prior.")  # fmt: skip
    sub.set_defaults(command=_extract)
    sub.add_argument("--profile", help="with --key: one feature folder of a profile")
    sub.add_argument("--key", help="with --profile: the feature folder's name")
    sub.add_argument("--dataset", help="a named set, or folder:PATH")
    sub.add_argument("--split", default="test", choices=("train", "test", "all"))
    sub.add_argument("--prior", default="class-name")
    sub.add_argument("--views", type=int, default=8, help="augmented views an image (default 8)")
    sub.add_argument("--out", type=Path, help="the folder to write")
    sub.add_argument("--shard", default="0/1", help="i/n: only part i of n")
    sub.add_argument("--skip-corrupt", action="store_true", help="leave unreadable images out and say how many")

    sub = add("train", _train, "train one run and write its record")
    sub.add_argument(
        "settings", nargs="+", metavar="FIELD=VALUE",
        help="fields of a run: method=gjr dataset=digits backbone=thin image_size=16 epochs=20",
    )
    sub.add_argument("--out", type=Path, default=Path("build/train"), help="folder for features, checkpoint and record")

    told = "Cluster all images in a folder; writes clusters.csv, features.safetensors and a page, index.html."
    sub = commands.add_parser("cluster", help="cluster a folder of images", description=told)
    sub.set_defaults(command=_cluster)
    sub.add_argument("folder", type=Path)
    sub.add_argument("-k", type=int, help="number of clusters (default: a guess)")
    sub.add_argument(
        "--prior", default="class-name", help="class-name, or <open_clip model>/<tag> (default: class-name)"
    )
    sub.add_argument("--labels", action="store_true", help="the first level of folders are classes: adds scores")
    sub.add_argument("--epochs", type=int, default=20)
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--out", type=Path, help="folder to write (default: the images' folder's name and -clusters, here)")

    sub = add("pretrain", _pretrain, "train the class-name prior on images and their class names")
    sub.add_argument("images", type=Path, help="folder of class folders named by WordNet id")
    sub.add_argument("names", type=Path, help="tab-separated: WordNet id, comma-separated names")
    sub.add_argument("--out", type=Path, required=True, help="the .safetensors file to write; a .json goes beside it")
    sub.add_argument("--minutes", type=float, default=10.0, help="time budget (default 10)")
    sub.add_argument("--epochs", type=int, default=1000, help="passes over the images at most")
    sub.add_argument("--batch-size", type=int, default=128, help="images a step (default 128), two views each")
    sub.add_argument("--score-on", nargs="*", default=["digits"], metavar="SET", help="sets to score (default: digits)")
    sub.add_argument("--seed", type=int, default=0)

    sub = add("verify", _verify, "check tensors and feature folders against their checksums, and the form of records")
    sub.add_argument("paths", nargs="+", type=Path)
    return parser


def _plan(options) -> None:
    from pgjr_book.planning import describe

    print(describe(options.profile))


def _run(options) -> None:
    from pgjr_book import runs
    from pgjr_book.train import execute

    root, manifest = runs.build_root(options.profile), runs.load_manifest()
    planned = runs.plan(options.profile).experiments
    if options.experiment and options.experiment not in planned:
        raise PGJRError(f"there is no experiment {options.experiment!r}: known are {', '.join(planned)}.")
    names = [options.experiment] if options.experiment else planned
    wanted = {
        path: run for name in names for run, path in zip(planned[name].runs, planned[name].record_paths, strict=False)
    }
    if options.own:
        wanted = {path: wanted[path] for name in names for path in planned[name].own_record_paths}
    part, parts = _shard(options.shard)
    for path, run in list(wanted.items())[part::parts]:
        if not manifest.profiles[options.profile].records and not path.exists() and options.seed in (None, run.seed):
            execute(run, root, alone=not options.not_alone)


def _extract(options) -> None:
    from pgjr_book import runs
    from pgjr_lib.priors import cache as features

    shard = _shard(options.shard)
    if options.profile:
        wanted = {folder.name: (folder, config) for folder, config in runs.plan(options.profile).features.items()}
        if not options.key:
            raise PGJRError(f"extract --profile needs --key: known are {', '.join(wanted)}.")
        if options.key not in wanted:
            raise PGJRError(f"profile {options.profile} has no features {options.key}: known are {', '.join(wanted)}.")
        folder, config = wanted[options.key]
    else:
        if not (options.dataset and options.out):
            raise PGJRError("extract needs --dataset and --out, or --profile and --key.")
        values = {"dataset": options.dataset, "split": options.split, "prior": options.prior, "views": options.views}
        folder, config = options.out, runs.validated(features.FeatureConfig, values, "extract")
    features.extract(config, folder, shard=shard, skip_corrupt=options.skip_corrupt)


def _train(options) -> None:
    from pgjr_book.runs import RunConfig, load_manifest, record_path, validated
    from pgjr_book.train import execute
    from pgjr_lib.storage import parse_yaml

    given = {}
    for setting in options.settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise PGJRError(f"{setting!r} is no FIELD=VALUE: write for example method=gjr.")
        given[name] = parse_yaml(value, repr(setting))
    start = load_manifest().methods.get(str(given.get("method")), {})
    run = validated(RunConfig, {**start, **given}, "train")
    scores = execute(run, options.out)["scores"]["plain"]
    means = ", ".join(f"{name.upper()} {sum(scores[name]) / len(scores[name]):.3f}" for name in ("acc", "nmi", "ari"))
    print(f"{means} (mean over {len(scores['acc'])} k-means seeds); record: {record_path(run, options.out)}")


def _cluster(options) -> None:
    from pgjr_lib.photos.cluster import cluster_folder

    folder = Path(os.path.expanduser(options.folder))  # a shell leaves a quoted ~ as it is
    out = options.out or Path(f"{Path(os.path.abspath(folder)).name or 'all'}-clusters")
    path = cluster_folder(folder, options.k, out, prior=options.prior, epochs=options.epochs,
                          seed=options.seed, labelled=options.labels)  # fmt: skip
    print(f"wrote {path}{'' if options.k else '; the number of clusters is a guess, -k sets your own'}")


def _pretrain(options) -> None:
    from pgjr_book.train import default_device
    from tools.pretrain_prior import pretrain

    names = ("epochs", "minutes", "batch_size", "score_on", "seed")
    chosen = {name: getattr(options, name) for name in names}
    pretrain(options.images, options.names, options.out, **chosen, device=default_device())


def _verify(options) -> None:
    for path in options.paths:
        try:
            _check(path)
        except (TypeError, AttributeError, LookupError) as error:
            raise PGJRError(f"{path} has not the form that pgjr writes ({type(error).__name__}: {error}).") from None
        print(f"{path}: whole")


def _check(path: Path) -> None:
    """Check a file or a folder by what it and the JSON beside it say they are."""
    from pgjr_book.runs import read_record
    from pgjr_lib.priors import cache as features
    from pgjr_lib.priors.names import prior_checksum
    from pgjr_lib.storage import load_tensors, read_json

    if path.is_dir() and (path / "features.safetensors").is_file():  # what `pgjr cluster` wrote
        load_tensors(path / "features.safetensors")
        path = path / "features"
    names = sorted(path.glob("*.json")) if path.is_dir() else []
    if names and all(len(name.stem) == 16 for name in names):  # a folder of records
        for record in names:
            read_record(record)
        return
    path = path / "manifest.json" if path.is_dir() else path
    side = path.with_suffix(".json")
    told = read_json(side) if path == side or side.is_file() else {}
    suffix = ".pt" if path.with_suffix(".pt").is_file() else ".safetensors"
    tensors = path.with_suffix(suffix) if path == side else path
    if "architecture" in told:
        prior_checksum(f"file:{tensors}")
    elif "stamp" in told:
        if load_tensors(tensors)[1]["checksum"] != told.get("checksum"):
            raise PGJRError(f"{tensors} is not the file that {side.name} describes: run the extraction again.")
    elif path != side:
        load_tensors(path)
    elif path.name == "manifest.json" and "files" in told:
        features.load(path.parent)
    elif {"config", "scores"} & told.keys():
        read_record(path)
    else:
        raise PGJRError(f"{path} is no whole record, manifest, chunk's note or prior's sidecar: nothing was checked.")


def _shard(text: str) -> tuple[int, int]:
    try:
        part, parts = (int(piece) for piece in text.split("/"))
    except ValueError:
        raise PGJRError(f"--shard {text!r} is not of the form i/n: write for example 0/4.") from None
    if parts < 1:
        raise PGJRError(f"--shard {text}: there is at least one part: write for example 0/1.")
    if not 0 <= part < parts:
        raise PGJRError(f"--shard {text}: part {part} does not exist, parts count from 0 to {parts - 1}.")
    return part, parts


if __name__ == "__main__":
    sys.exit(main())
