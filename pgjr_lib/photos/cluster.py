"""Run ``pgjr cluster``: from a folder of images to a table of clusters and a page that shows them.

Everything but the last steps works on contents: files with the same bytes are one photograph. A run goes on from the one
before: it encodes new photographs only, and while few are new it keeps the head, the number of clusters and the map.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics.cluster import contingency_matrix

from pgjr_lib import data, evaluation
from pgjr_lib.devices import default_device
from pgjr_lib.errors import PGJRError
from pgjr_lib.options import HEAD_TRAINING, METHODS, HeadName, Method
from pgjr_lib.photos import duplicates, encoding, heads, names, sort_files
from pgjr_lib.photos.choose_k import guess_k, worth
from pgjr_lib.photos.edits import Edits, check_circles, read_edits, save_edits
from pgjr_lib.photos.grouping import NONE, by_density, by_kmeans, centres, distances, keep_numbers
from pgjr_lib.photos.index import Index
from pgjr_lib.photos.last_run import LastRun, read_last_run
from pgjr_lib.photos.neighbours import nearest
from pgjr_lib.photos.output import INDEX, OutputFolder
from pgjr_lib.photos.page import Photographs, render
from pgjr_lib.photos.plane import place, project
from pgjr_lib.photos.scan import as_text, bring_up_to_date
from pgjr_lib.photos.sorting import finish_stopped, sort_photographs
from pgjr_lib.photos.store import Contents, Store
from pgjr_lib.photos.tree import parts_of
from pgjr_lib.priors.fetch import fetch
from pgjr_lib.priors.names import at_hand
from pgjr_lib.priors.supervision import refuse_seen
from pgjr_lib.storage import exclusive

SAME = 1e-4  # features this near each other, on the unit sphere, are those of copies: batches round differently
GROWTH = 0.1  # photographs that may come before head and map are made anew, as a part of those that they were made from


@dataclass(frozen=True)
class ClusterOptions:
    """What a user may ask of ``pgjr cluster``.

    Attributes:
        k: number of clusters; None guesses one (:func:`pgjr_lib.photos.choose_k.guess_k`).
        prior: name of the frozen prior, see :func:`pgjr_lib.priors.names.resolve`; None takes the best that is here
            (:func:`default_prior`).
        method: ``kmeans``, or ``hdbscan``, which finds the number of clusters and leaves out what fits nowhere.
        head: ``kmeans``, ``linear`` or ``pgjr``; None chooses by the prior (:func:`pgjr_lib.photos.heads.choose_head`).
        epochs: epochs that the head is trained for.
        views: augmented views of each image that the head is trained on; None takes as many as time allows.
        seed: seed of training and of k-means.
        labelled: the first level of folders are classes; the page then shows scores and a confusion matrix.
        negatives: as :class:`pgjr_lib.options.TrainingOptions`.
        words: a file of words, one a line, that names are suggested from; None takes the names of ImageNet's classes.
        edits: a file of changes that was downloaded from the page.
        forget_edits: whether to drop all changes of the page that earlier runs took up.
        fresh: whether to start anew, with features kept and all else forgotten.
        sort_to, sort_mode: a folder to copy, link or move the images into, one folder a cluster; None sorts nothing.
    """

    k: int | None = None
    prior: str | None = None
    method: Method = "kmeans"
    head: HeadName | None = None
    epochs: int = HEAD_TRAINING.epochs
    views: int | None = None
    seed: int = 0
    labelled: bool = False
    negatives: int | None = None
    words: Path | None = None
    edits: Path | None = None
    forget_edits: bool = False
    fresh: bool = False
    sort_to: Path | None = None
    sort_mode: sort_files.Mode = "copy"


def default_prior() -> tuple[str, str]:
    """Return the prior for photographs that fits best of those here, and a line on what would be better ("" for none)."""
    clip = "with a network, --prior ViT-B-32-quickgelu/openai (CLIP) sees more"
    if at_hand("imagenet-labels"):
        return "imagenet-labels", f"The prior is imagenet-labels; {clip}."
    return "class-name", (
        "The prior is class-name, which is small and was taught 200 names. For photographs `pip install 'pgjr[priors]'`"
        f" brings a better one; {clip}."
    )


def cluster_folder(folder: Path, out: Path, options: ClusterOptions | None = None, *, encode_texts: Callable | None = None) -> Path:
    """Cluster the images of a folder and write ``clusters.csv``, ``duplicates.csv``, ``features.safetensors`` and ``index.html``.

    Images that cannot be read are left out and listed. A stopped run resumes from its last encoded part or trained
    epoch. The next run on the same folder and ``out`` goes on from this one.

    Args:
        folder: the images; folders in it are searched too.
        out: the folder to write.
        options: what to do; by default those of the command.
        encode_texts: as for :func:`pgjr_lib.photos.names.word_features`.

    Returns:
        The path of index.html. clusters.csv has one row an image: file, cluster, distance to the cluster's centre, the
        cluster's name, and the part within the cluster.

    Raises:
        PGJRError: no or too few images, an option out of range, a prior that is not available or that saw labels of the
            classes, an ``out`` that holds something else, edits that are none, or a folder that cannot be sorted into.
    """
    options = options or ClusterOptions()
    _check(options)
    if not folder.is_dir():
        raise PGJRError(f"{folder} is not a folder: give the path of a folder that holds images.")
    if finish_stopped(folder, options.sort_to, options.sort_mode):
        return OutputFolder(out, folder).page
    prior, advice = (options.prior, "") if options.prior else default_prior()
    words = None
    if options.words is not None:
        names.refuse_text(prior)
        words = names.read_words(options.words)
    images, others = data.list_images(folder)
    _check_k(options.k, len(images), "images")
    output = OutputFolder(out, folder)
    if options.labelled:
        own = (path.relative_to(folder).as_posix() for path in images if not output.holds(path))
        refuse_seen(prior, f"folder:{folder}", sorted({_class_of(file, folder) for file in own}))
    if advice:
        print(advice, file=sys.stderr)
    with exclusive(out / ".lock", f"{out}"):
        return _fill(output, folder, images, others, prior, words, options, encode_texts)


def _fill(output: OutputFolder, folder: Path, images, others, prior: str, words, options: ClusterOptions, encode_texts) -> Path:
    """Cluster the images into a folder that no other process writes to, as :func:`cluster_folder`."""
    device, edits = default_device(), _take_up_edits(output, options)
    choice = heads.choose_head(options.head, prior)
    base = encoding.store_folder(output.cache, prior, device)
    index, store = Index(output.cache / INDEX), Store(base)
    scan = bring_up_to_date(index, store, folder, images, others, output, prior, device, _views(options, choice, store))
    _check_k(options.k, len(scan.files), "readable images")
    digests = sorted(set(scan.digests))
    contents = store.get(digests)

    last = None if options.fresh else read_last_run(output.last_run)
    settings = {"prior": prior, "store": base.name, "views": contents.views.shape[1], "head": choice.head, "epochs": options.epochs,
                "seed": options.seed, "negatives": options.negatives}  # fmt: skip
    kept = last is not None and last.head == settings and _few_are_new(last, digests)
    _check_distinct(heads.plain_points(contents), options.k, folder)  # a head cannot learn from copies of one image
    points = _points(contents, choice.head, kept, output, options, device)
    base_clusters, guess, changes = _group(points, digests, options, last, kept, edits)
    run = _complete(points, contents, base_clusters, edits, last if kept else None, settings, options, guess)
    run.save(output.last_run)

    photographs, row = _photographs(index, scan, contents, run, points)
    suggestions = {}
    if names.has_trusted_text(prior):
        words = words or names.read_words(None)
        features = names.word_features(prior, words, output.cache, device, encode_texts)
        suggestions = names.suggest(contents.embedding.numpy(), run.final, words, features)
    named = {int(number): name for number, name in edits.names.items()}
    output.write_clusters(photographs, named, points[row])
    about = {
        "folder": as_text(folder.resolve().name), "prior": prior, "supervision": fetch(prior)["supervision"],
        "note": "", "skipped": scan.skipped, "raw": scan.raw, "damaged": scan.damaged, "link": output.link(),
        "method": _method_sentence(options), "head": heads.TITLES[choice.head], "reason": choice.reason, "changes": changes,
        "guess": guess, "scores": _scores(scan.files, photographs.clusters, folder) if options.labelled else {},
    }  # fmt: skip
    clusters = [
        {"number": number, "name": named.get(number, ""), "suggestions": suggestions.get(number, [])}
        for number in np.unique(run.final).tolist()
    ]
    highest = max([*run.base.tolist(), *run.final.tolist(), *edits.numbers()], default=0)
    output.write_page(render(photographs, clusters, output.key, highest, about), photographs)
    if options.sort_to is not None:
        sort_photographs(folder, photographs, named, options.sort_to, options.sort_mode)
    return output.page


# ---- checks ----


def _check(options: ClusterOptions) -> None:
    if options.epochs < 1:
        raise PGJRError(f"epochs is {options.epochs}, but the head trains for at least one: give a positive integer.")
    if not 0 <= options.seed < 2**32:
        raise PGJRError(f"seed is {options.seed}, but a seed is an integer from 0 to {2**32 - 1}: give one of these.")
    if options.views is not None and not 0 <= options.views <= encoding.MOST_VIEWS:
        raise PGJRError(f"views is {options.views}: give a number from 0 to {encoding.MOST_VIEWS}.")
    if options.method not in METHODS:
        raise PGJRError(f"There is no method {options.method!r}: use {' or '.join(METHODS)}.")
    if options.method == "hdbscan" and options.k is not None:
        raise PGJRError("HDBSCAN finds the number of clusters itself: leave out -k, or use --method kmeans.")


def _check_k(k: int | None, count: int, what: str) -> None:
    if k is not None and not 2 <= k <= count:
        raise PGJRError(f"k={k} clusters were asked for {count} {what}: choose k from 2 to {count}.")


def _check_distinct(points: np.ndarray, k: int | None, folder: Path) -> None:
    """Refuse more clusters than there are images that differ; a guess needs three."""
    enough = k or 3
    distinct = _count_distinct(points, enough)
    if distinct < enough:
        images = "image" if distinct == 1 else "images"
        advice = f"choose k from 2 to {distinct}" if distinct > 1 else "add images that differ"
        raise PGJRError(
            f"{folder} holds {distinct} distinct {images}, and the others are copies or look alike: {advice}."
        )


def _count_distinct(points: np.ndarray, enough: int) -> int:
    """Count points that lie more than ``SAME`` apart, up to ``enough``: each next one is the farthest from those before."""
    count, nearest_one = 0, np.full(len(points), np.inf)
    while count < enough and nearest_one.max() > SAME:
        nearest_one = np.minimum(nearest_one, np.linalg.norm(points - points[nearest_one.argmax()], axis=1))
        count += 1
    return count


# ---- from files to contents ----


def _views(options: ClusterOptions, choice: heads.Choice, store: Store) -> int | None:
    """Return how many views are asked for; k-means on the prior's features needs none, and takes what is kept."""
    if options.views is None and choice.head == "kmeans":
        return store.views or 0
    return options.views


# ---- from contents to clusters ----


def _few_are_new(last: LastRun, digests: list[str]) -> bool:
    new = len(set(digests) - set(last.digests))
    return last.added + new <= GROWTH * last.fitted


def _points(contents: Contents, head, kept: bool, output: OutputFolder, options: ClusterOptions, device: str) -> np.ndarray:
    """Return what is clustered: (N, d) float32."""
    if head == "kmeans":
        return heads.plain_points(contents)
    if kept and output.head.is_file():
        return heads.apply(contents, head, output.head, device)
    return heads.train(contents, head, options.epochs, options.seed, options.negatives,
                       checkpoint=output.checkpoint, weights=output.head, device=device)  # fmt: skip


def _of_last(last: LastRun, digests: list[str], name: str, missing) -> np.ndarray:
    """Return an array of the last run in the order of ``digests``, with ``missing`` for a photograph that is new."""
    values, row = getattr(last, name), {digest: i for i, digest in enumerate(last.digests)}
    return np.array([values[row[digest]] if digest in row else missing for digest in digests])


def _group(points, digests, options, last, kept, edits) -> tuple[np.ndarray, list[dict], str]:
    """Cluster: (N,) numbers before edits, the rows of the guess, and a sentence on what changed since the last run."""
    grouping = _grouping(options)
    before = _of_last(last, digests, "base", NONE - 1) if last else None
    same = kept and last.grouping == grouping
    if same and digests == last.digests:
        print("Nothing has changed since the last run, so its clusters stay.", file=sys.stderr)
        return last.base, last.guess, ""
    guess = []
    if options.method == "hdbscan":
        clusters = by_density(points)
        if len(np.unique(clusters[clusters >= 0])) < 2:
            print("There is no clear number of clusters: HDBSCAN finds none that stand apart. Use --method kmeans with -k.",
                  file=sys.stderr)  # fmt: skip
    else:
        start, wanted = None, options.k
        if same:
            guess, present = last.guess, np.unique(before[before >= 0])
            wanted = len(np.unique(last.base))
            if len(present) == wanted:
                known = before >= 0
                start = centres(points[known], before[known])
        if wanted is None:
            guess = guess_k(points, options.seed)
            wanted = max(guess, key=worth)["k"]
            if not max(map(worth, guess))[0]:
                print("There is no clear number of clusters: none stands out against one cloud, so the guess is arbitrary. Choose one"
                      " with -k.", file=sys.stderr)  # fmt: skip
        clusters = by_kmeans(points, wanted, options.seed, start)
    if last is None:
        return clusters, guess, ""
    clusters, changes = keep_numbers(clusters, before, edits.numbers())
    print(changes.sentence(), file=sys.stderr)
    return clusters, guess, changes.sentence()


def _grouping(options):
    return {"method": options.method, "k": options.k, "seed": options.seed}


def _complete(points, contents, base, edits, kept, settings, options, guess) -> LastRun:
    """Add to the clusters what the page needs: the user's edits, the map, the neighbours and the parts."""
    digests = contents.digests
    final = edits.apply(base, digests)
    unchanged = kept is not None and digests == kept.digests
    if kept is None:
        plane = project(points)
    else:
        known = np.isin(digests, kept.digests)
        those = [digest for digest, is_known in zip(digests, known, strict=True) if is_known]
        plane = place(points, np.flatnonzero(known), _of_last(kept, those, "plane", None))
    neighbours, cosines = (kept.neighbours, kept.cosines) if unchanged else nearest(contents.embedding.numpy())
    parts = kept.parts if unchanged and np.array_equal(final, kept.final) else parts_of(points, final, options.seed)
    new = len(set(digests) - set(kept.digests)) if kept else 0
    fitted, added = (kept.fitted, kept.added + new) if kept else (len(digests), 0)
    return LastRun(digests, base, plane, final, parts, neighbours, cosines, settings, _grouping(options), guess, fitted, added)


# ---- from clusters to the page ----


def _photographs(index, scan, contents, run, points) -> tuple[Photographs, np.ndarray]:
    """Spread what is known of contents to the files that hold them; also return the content of each file, (F,)."""
    number = {digest: i for i, digest in enumerate(contents.digests)}
    row = np.array([number[digest] for digest in scan.digests])
    first = np.full(len(contents.digests), -1)
    first[row[::-1]] = np.arange(len(row))[::-1]  # content -> the first file that holds it
    sizes = np.array([index.now[file].size for file in scan.files])
    width, height = contents.width.numpy()[row], contents.height.numpy()[row]
    pairs = duplicates.similar_pairs(contents.look.numpy(), run.neighbours, run.cosines)
    copies = duplicates.find(row, pairs, width.astype(np.int64) * height, sizes)
    distance = distances(points, run.final)[row]
    return Photographs(
        scan.files, scan.digests, run.final[row], distance, run.plane[row], width, height, sizes, run.parts[row],
        first[run.neighbours][row], [contents.thumbnails[i] for i in row], copies,
    ), row  # fmt: skip


def _take_up_edits(output: OutputFolder, options: ClusterOptions) -> Edits:
    """Return all changes made in the page, those of earlier runs first, and keep them for the next run."""
    edits = Edits(page=output.key)
    if options.forget_edits:
        output.edits.unlink(missing_ok=True)
    elif output.edits.is_file():
        edits = read_edits(output.edits, output.key)
    if options.edits is not None:
        edits = edits.then(read_edits(options.edits, output.key))
        check_circles(edits, options.edits)
        save_edits(edits, output.edits)
    return edits


def _method_sentence(options: ClusterOptions) -> str:
    if options.method == "hdbscan":
        return "Clusters by HDBSCAN, which leaves out what fits nowhere."
    return f"Clusters by k-means with seed {options.seed}."


def _class_of(file: str, folder: Path) -> str:
    first, _, rest = file.partition("/")
    if not rest:
        raise PGJRError(f"{folder / file} lies in no class folder: move it into a folder named after its class.")
    return first


def _scores(files: list[str], clusters: np.ndarray, folder: Path) -> dict:
    """Score clusters against the folders' names: ACC, NMI and ARI in [0, 1], and the confusion matrix."""
    classes, truth = np.unique([_class_of(file, folder) for file in files], return_inverse=True)
    if len(classes) < 2:
        raise PGJRError(f"{folder} has only one class, {str(classes[0])!r}: provide at least two class folders.")
    return {
        "acc": evaluation.accuracy(truth, clusters),
        "nmi": evaluation.nmi(truth, clusters),
        "ari": evaluation.ari(truth, clusters),
        "confusion": contingency_matrix(truth, clusters).tolist(),
        "classes": classes.tolist(),
        "clusters": np.unique(clusters).tolist(),
    }
