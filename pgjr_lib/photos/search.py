"""Run ``pgjr search``: find the photographs of a clustered folder that resemble a file or fit a text."""

from pathlib import Path

import numpy as np

from pgjr_lib.devices import default_device
from pgjr_lib.errors import PGJRError
from pgjr_lib.photos.encoding import embed_file, store_folder
from pgjr_lib.photos.index import Index
from pgjr_lib.photos.last_run import read_last_run
from pgjr_lib.photos.names import encode_text, refuse_text
from pgjr_lib.photos.neighbours import rank
from pgjr_lib.photos.output import CACHE, INDEX, LAST_RUN
from pgjr_lib.photos.store import Store
from pgjr_lib.priors.encoder import load_prior


def search(out: Path, *, like: Path | None = None, text: str | None = None, count: int = 20) -> list[tuple[str, float]]:
    """Find photographs in the folder that ``pgjr cluster`` wrote ``out`` for, as they were at its last run.

    Args:
        out: what ``pgjr cluster`` wrote.
        like: an example, any image file.
        text: words, where the prior is CLIP.
        count: how many files are wanted, at most.

    Returns:
        (file, cosine in [-1, 1]) by falling cosine; paths are relative to the folder of photographs.

    Raises:
        PGJRError: ``out`` holds no finished run, the example cannot be read, or the prior cannot compare with a text.
    """
    last = read_last_run(out / LAST_RUN)
    if last is None:
        raise PGJRError(f"{out} holds no finished run of `pgjr cluster`: give the folder that it wrote.")
    prior, device = last.head["prior"], default_device()
    if text is not None:
        refuse_text(prior)
        query = encode_text(prior, text, device)
    elif not like.is_file():
        raise PGJRError(f"{like} is not a file: give an image to search with.")
    else:
        reading, query = embed_file(like, load_prior(prior, device))
        if query is None:
            raise PGJRError(f"{like} cannot be read ({reading.error}): give another image.")
    index, store = Index(out / CACHE / INDEX), Store(store_folder(out / CACHE, prior, device))
    files = {}
    for file, entry in index.last.items():
        files.setdefault(entry.digest, []).append(file)
    digests = [digest for digest in last.digests if digest in store and digest in files]
    if not digests:
        raise PGJRError(f"{out} lacks its features: run `pgjr cluster` again.")
    order, cosine = rank(store.get(digests).embedding.numpy(), np.asarray(query))
    hits = ((file, float(value)) for i, value in zip(order, cosine, strict=True) for file in sorted(files[digests[i]]))
    return [hit for hit, _ in zip(hits, range(count), strict=False)]
