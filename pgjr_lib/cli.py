"""Run the command line: ``pgjr fetch | extract | cluster | search | undo | verify``.

It is built on argparse, which is in the standard library, starts fast, and is enough for a few commands.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pgjr_lib import __version__
from pgjr_lib.data.sets import SPLITS
from pgjr_lib.errors import PGJRError
from pgjr_lib.options import HEAD_TRAINING, HEADS, METHODS
from pgjr_lib.priors.config import FeatureConfig, manifest_name


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; ``arguments`` are by default those of the process."""
    return run_command(build_parser(), arguments)


def run_command(parser: argparse.ArgumentParser, arguments: list[str] | None = None) -> int:
    """Parse ``arguments`` and call the function that they hold as ``command``.

    A mistake in the input becomes one sentence on stderr.

    Returns:
        The exit status: 0, 2 after a mistake, 130 after an interrupt.
    """
    try:
        options = parser.parse_args(arguments)
        options.command(options)
    except PGJRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a file where a folder should be, no permission
        subject = f"{error.filename}: " if error.filename else ""
        print(f"error: {subject}{error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command resumes from the last finished part.", file=sys.stderr)
        return 130
    return 0


class CommandParser(argparse.ArgumentParser):
    """A parser that reports a wrong argument as any other mistake: in one sentence, without its usage."""

    def error(self, message: str):
        raise PGJRError(f"{message}: see `{self.prog} --help`.")


def build_parser() -> CommandParser:
    """Return the parser of all commands."""
    parser = CommandParser(prog="pgjr", description="Cluster images without labels, by Grid Jigsaw Representation.")
    parser.add_argument("--version", action="version", version=f"pgjr {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    defaults = {name: field.default for name, field in FeatureConfig.model_fields.items()}
    priors = "class-name, imagenet-labels, <open_clip model>/<tag>, file:<path>.safetensors, or random:<any other of these>"
    prior_help = f"{priors} (default: %(default)s)"

    def add(name: str, command: Callable, summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        sub.set_defaults(command=command)
        return sub

    sub = add("fetch", _fetch, "fetch image sets and the weights of priors that are not on this machine")
    sub.add_argument("sets", nargs="*", metavar="SET", help="an image set: cifar10, cifar20 (CIFAR-100), stl10, tiny-imagenet, ...")
    sub.add_argument("--prior", action="append", default=[], metavar="NAME", help=f"a prior: {priors}; may be repeated")
    sub.add_argument("--data", type=user_path, metavar="FOLDER", help="where sets go (default: $PGJR_DATA)")
    sub.add_argument(
        "--imagenet", type=existing_path, metavar="PATH",
        help="your ImageNet, a folder or the archive of its training images, for imagenet-10 and imagenet-dogs",
    )  # fmt: skip
    sub.add_argument("--list", action="store_true", help="list the sets with their sizes and licences, and what is here")

    sub = add("extract", _extract, "encode images and augmented views of them with a frozen prior")
    sub.add_argument("--dataset", required=True, help="a named set, folder:PATH (one folder a class) or images:PATH")
    sub.add_argument(
        "--split", default=defaults["split"], choices=SPLITS, help="default: %(default)s"
    )
    sub.add_argument("--prior", default=defaults["prior"], help=prior_help)
    sub.add_argument(
        "--views",
        type=integer(0),
        default=defaults["views"],
        metavar="N",
        help="views of each image (default: %(default)s)",
    )
    sub.add_argument("--out", type=user_path, required=True, metavar="FOLDER", help="the folder to write")
    sub.add_argument(
        "--shard", type=shard, default=(0, 1), metavar="I/N", help="make part I of N only, I from 0 to N-1"
    )
    sub.add_argument("--skip-corrupt", action="store_true", help="leave out images that cannot be read")

    sub = add("cluster", _cluster, "cluster a folder of images and write tables and a page; the next run goes on from this one")
    sub.add_argument("folder", type=user_path, help="the images; folders in it are searched too")
    sub.add_argument("-k", type=integer(2), metavar="N", help="number of clusters (default: a guess)")
    sub.add_argument("--method", choices=METHODS, default="kmeans", help="how to cluster; hdbscan needs no k (default: %(default)s)")
    sub.add_argument("--prior", help=f"{priors} (default: imagenet-labels where it is installed, else class-name)")
    sub.add_argument(
        "--head", choices=HEADS, help="cluster the prior's features as they are, or through a trained head (default: kmeans)"
    )
    sub.add_argument(
        "--labels", action="store_true", help="the first level of folders are classes: add scores to the page"
    )
    sub.add_argument(
        "--views", type=integer(0), metavar="N",
        help="augmented views of each image, for the head's training (default: as time allows)",
    )
    sub.add_argument(
        "--epochs", type=integer(1), default=HEAD_TRAINING.epochs, metavar="N",
        help="epochs of the head's training (default: %(default)s)",
    )  # fmt: skip
    sub.add_argument(
        "--negatives", type=integer(1), metavar="N", help="images that a training step compares with, drawn anew (default: all)"
    )
    sub.add_argument(
        "--seed", type=integer(0), default=0, metavar="N", help="seed of training and k-means (default: 0)"
    )
    sub.add_argument("--words", type=user_path, metavar="FILE", help="words to suggest names from, one a line (needs CLIP)")
    changes = sub.add_mutually_exclusive_group()
    changes.add_argument("--edits", type=user_path, metavar="FILE", help="take up the changes that the page's download button saved")
    changes.add_argument("--forget-edits", action="store_true", help="drop all changes that were taken up")
    sub.add_argument("--fresh", action="store_true", help="start anew: train again and number the clusters anew; features are kept")
    sort = sub.add_mutually_exclusive_group()
    for mode, what in {"copy": "copy the images", "link": "make links to the images", "move": "move the images"}.items():
        sort.add_argument(f"--{mode}-to", type=user_path, metavar="DIR", help=f"{what} into DIR, a folder for each cluster")
    sub.add_argument(
        "--out", type=user_path, metavar="FOLDER",
        help="the folder to write (default: <name of the images' folder>-clusters in the current folder)",
    )  # fmt: skip

    sub = add("search", _search, "find photographs that resemble a file, or fit a text where the prior is CLIP")
    sub.add_argument("out", type=existing_path, metavar="CLUSTERS", help="the folder that pgjr cluster wrote")
    query = sub.add_mutually_exclusive_group(required=True)
    query.add_argument("--like", type=user_path, metavar="FILE", help="an example, any image file")
    query.add_argument("--text", metavar="TEXT", help="words")
    sub.add_argument("-n", type=integer(1), default=20, metavar="N", help="files to list (default: %(default)s)")

    sub = add("undo", _undo, "put back what pgjr cluster copied, linked or moved")
    sub.add_argument("manifest", type=user_path, help="the file pgjr-sort-NNN.json in the folder that was sorted into")

    sub = add("verify", _verify, "check files that pgjr wrote against their checksums, or this installation with --clip")
    sub.add_argument(
        "--clip", action="store_true", help="check this installation: losses, weights, and CLIP's zero-shot accuracy"
    )
    sub.add_argument(
        "--prior", default="ViT-B-32-quickgelu/openai", metavar="NAME", help="the CLIP that --clip checks (default: %(default)s)"
    )
    sub.add_argument(
        "paths", nargs="*", type=existing_path, metavar="PATH",
        help="a .safetensors file, a prior, a feature folder or a part of one, or the output of pgjr cluster",
    )  # fmt: skip
    return parser


def integer(lowest: int) -> Callable[[str], int]:
    """Return an argument type: integers from ``lowest`` up."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{value} is too small, give {lowest} or more")
        return value

    return parse


def shard(text: str) -> tuple[int, int]:
    """Parse ``i/n`` as an argument: part i of n, 0 <= i < n."""
    try:
        part, parts = (int(piece) for piece in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form i/n, write for example 0/4") from None
    if parts < 1:
        raise argparse.ArgumentTypeError(f"{text} has no parts, write for example 0/1")
    if not 0 <= part < parts:
        raise argparse.ArgumentTypeError(f"{text}: part {part} does not exist, parts count from 0 to {parts - 1}")
    return part, parts


def user_path(text: str) -> Path:
    """Parse a path as an argument; a shell leaves a quoted ``~`` as it is."""
    return Path(os.path.expanduser(text))


def existing_path(text: str) -> Path:
    """Parse the path of a file or folder that exists as an argument."""
    path = user_path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{path} does not exist")
    return path


def _fetch(options) -> None:
    root = options.data or (user_path(os.environ["PGJR_DATA"]) if os.environ.get("PGJR_DATA") else None)
    if options.list:
        return _list_sets(root)
    if not options.sets and not options.prior:
        raise PGJRError("Nothing to fetch: name image sets, or a prior with --prior, or see `pgjr fetch --list`.")
    if options.sets and root is None:
        raise PGJRError("No data root is set: set PGJR_DATA to the folder for image sets, or give it with --data FOLDER.")
    if options.sets:
        from pgjr_lib.data.fetch import fetch as fetch_set

        for name in dict.fromkeys(options.sets):
            print(f"{name}: {fetch_set(name, root, options.imagenet)}")
    if options.prior:
        from pgjr_lib.priors.fetch import fetch as fetch_prior

        for name in dict.fromkeys(options.prior):
            print(f"{name}: {fetch_prior(name)['path'] or 'random weights'}")


def _list_sets(root: Path | None) -> None:
    """Print what can be fetched, with sizes and licences, and what is here."""
    from pgjr_lib.data.fetch import overview

    print(f"data root: {root or 'not set; set PGJR_DATA or give --data FOLDER'}")
    for row in overview(root):
        size = f"{row.size / 1e6:,.0f} MB" if row.size else "your copy of ImageNet"
        print(f"  {row.name:<14} {'here' if row.here else 'missing':<8} {size:<22} {row.licence}")


def _extract(options) -> None:
    from pgjr_lib.priors.cache import extract

    config = FeatureConfig(dataset=options.dataset, split=options.split, prior=options.prior, views=options.views)
    features = extract(config, options.out, shard=options.shard, skip_corrupt=options.skip_corrupt)
    if features is None:
        print(f"this part of {options.out} is finished; others are missing")
    else:
        print(f"wrote {options.out}: features of {len(features.labels)} images")


def _cluster(options) -> None:
    from pgjr_lib.photos.cluster import ClusterOptions, cluster_folder

    out = options.out or Path(f"{Path(os.path.abspath(options.folder)).name or 'all'}-clusters")
    goals = {mode: goal for mode in ("copy", "link", "move") if (goal := getattr(options, f"{mode}_to")) is not None}
    mode, goal = next(iter(goals.items()), ("copy", None))
    page = cluster_folder(options.folder, out, ClusterOptions(
        k=options.k, prior=options.prior, method=options.method, head=options.head, epochs=options.epochs, views=options.views,
        seed=options.seed, labelled=options.labels, negatives=options.negatives, words=options.words, edits=options.edits,
        forget_edits=options.forget_edits, fresh=options.fresh, sort_to=goal, sort_mode=mode,
    ))  # fmt: skip
    guessed = options.k is None and options.method == "kmeans"
    print(f"wrote {page}{'; the number of clusters is a guess, choose another with -k' if guessed else ''}")


def _search(options) -> None:
    from pgjr_lib.photos.search import search

    for file, cosine in search(options.out, like=options.like, text=options.text, count=options.n):
        print(f"{cosine:6.3f}  {printable(file)}")


def _undo(options) -> None:
    from pgjr_lib.photos.sort_files import report_left, undo

    report = undo(options.manifest)
    report_left(report.left)
    if report.left:
        raise PGJRError(f"{len(report.left):,} files stay where they are: move them, and give the same command again.")
    print(f"put back {report.done:,} files; {options.manifest} is removed")


def printable(text: str) -> str:
    """Return a file's name without characters that would move a terminal's cursor or end the line."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _verify(options) -> None:
    if not options.paths and not options.clip:
        raise PGJRError("Nothing to check: name files or folders that pgjr wrote, or check this installation with --clip.")
    if options.clip:
        _verify_installation(options.prior)
    for path in options.paths:
        verify_file(path)
        print(f"{path}: whole")


def _verify_installation(clip: str) -> None:
    """Print one line a check.

    Raises:
        PGJRError: a check failed.
    """
    from pgjr_lib.checks import check_installation

    failed = []
    for check in check_installation(clip):
        print(f"{ {True: 'ok', False: 'FAILED', None: 'open'}[check.passed]:<7} {check.name}: {check.detail}", flush=True)
        failed += [check.name] if check.passed is False else []
    if failed:
        raise PGJRError(f"{failed[0]} is not as it should be: install again, or fetch the weights again.")


def verify_file(path: Path) -> None:
    """Check a file or folder by what it and the JSON beside it say they are.

    Raises:
        PGJRError: it is damaged or incomplete, or nothing that pgjr writes.
    """
    from pgjr_lib.photos.output import CACHE, FEATURES, HEAD, LAST_RUN
    from pgjr_lib.photos.store import check_store
    from pgjr_lib.storage import load_tensors

    try:
        if path.is_dir() and (path / FEATURES).is_file():  # the output of `pgjr cluster`
            for name in (FEATURES, LAST_RUN, HEAD):
                if name != HEAD or (path / name).exists():  # k-means on the prior's features has no head
                    load_tensors(path / name)
            if not check_store(path / CACHE):
                raise PGJRError(f"{path} lacks its features: run `pgjr cluster` again.")
            return
        if path.is_dir():
            manifests = sorted(path.glob(manifest_name("*")), key=lambda m: (len(m.name), m.name))
            if not manifests:
                raise PGJRError(f"{path} holds neither features nor clusters that pgjr wrote: nothing was checked.")
            path = manifests[-1]
        _verify_part(path)
    except (TypeError, AttributeError, LookupError) as error:
        raise PGJRError(f"{path} does not have the form that pgjr writes ({type(error).__name__}: {error}).") from None


def _verify_part(path: Path) -> None:
    """Check a feature folder by its manifest, or a file of tensors with its note or sidecar, given either of the two."""
    from pgjr_lib.priors.cache import load
    from pgjr_lib.priors.names import prior_checksum
    from pgjr_lib.storage import load_tensors, read_sealed

    beside = path.with_suffix(".json")
    description = read_sealed(beside) if path == beside or beside.is_file() else {}
    suffix = ".pt" if path.with_suffix(".pt").is_file() else ".safetensors"
    tensors = path.with_suffix(suffix) if path == beside else path
    if "architecture" in description:  # of a prior
        prior_checksum(f"file:{tensors}")
    elif "stamp" in description:  # of a chunk
        if load_tensors(tensors)[1]["checksum"] != description.get("checksum"):
            raise PGJRError(f"{tensors} is not the file that {beside.name} describes: run the extraction again.")
    elif path != beside:
        load_tensors(path)
    elif "files" in description and path.name == manifest_name(description["config"]["views"]):
        load(path.parent, description["config"]["views"])
    else:
        raise PGJRError(
            f"{path} is no manifest, note of a chunk or sidecar of a prior that pgjr wrote: nothing was checked."
        )


if __name__ == "__main__":
    sys.exit(main())
