"""Train the class-name prior: a small open_clip model, on images and captions made of their class names.

    python tools/pretrain_prior.py IMAGES NAMES --out build/prior/class-name-prior.safetensors --minutes 50

This is supervision by class names, and everything that uses the weights says so.
"""

import argparse
import gzip
import math
import sys
import time
from pathlib import Path

import torch
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, normalize, one_hot

from pgjr_lib import data
from pgjr_lib.augment import Augment, plain, to_float
from pgjr_lib.devices import default_device, fast_half
from pgjr_lib.errors import PGJRError
from pgjr_lib.evaluation import kmeans_scores
from pgjr_lib.priors.encoder import load_prior, save_prior
from pgjr_lib.progress import progress
from pgjr_lib.storage import atomic_write, load_tensors, save_tensors

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# the templates resemble each other, so that captions differ by their names from the first step on
TEMPLATES = (
    "a photo of a {}.", "a small photo of a {}.", "a blurry photo of a {}.", "a close-up photo of a {}.",
    "a cropped photo of a {}.", "a dark photo of a {}.",
)  # fmt: skip
TEXT_RATE = 0.3  # the text tower's share of the learning rate: at a higher one captions collapse before images differ
# (fraction of the training from which this row counts, sides / image_size to draw from): small inputs come first,
# because they are fast and the prior will meet small images; the last row ends at the size that the prior asks for
SIDES = ((0.0, (0.5, 0.75)), (0.7, (0.75, 1.0)))
PIXELS = 32  # side of the images for k-means on pixels, at most
NEAR = 0.8  # similarity from which two thumbnails count as near-duplicates
SELF_WEIGHT, SELF_TEMPERATURE = 0.5, 0.2  # of the self-supervised term
CONTEXT = 20  # tokens of a caption
SUPERVISION = (
    "supervised by class names: contrastive training on Tiny-ImageNet images with captions made of the"
    " WordNet names of their 200 classes"
)


def pretrain(
    images_root, names_tsv, out, *, epochs=20, minutes=None, image_size=64, batch_size=128,
    learning_rate=2e-3, seed=0, limit=None, score_on=("digits",), device="cpu",
):  # fmt: skip
    """Train the class-name prior and write weights, sidecar, token merges and card.

    Args:
        images_root: folder with one folder per class, named by WordNet id.
        names_tsv: lines of WordNet id, tab, comma-separated names.
        out: ``x.safetensors``; ``x.json``, ``x.bpe.gz`` and the card ``x.md`` go beside it.
        epochs: passes over the images, at most.
        minutes: training time, at most; the learning rate reaches zero at whichever limit comes first.
        image_size: side of the input in pixels at the end of the training, and of the prior's input afterwards.
        batch_size: images in a step, two views each.
        learning_rate: AdamW's at its peak, with a cosine schedule.
        seed: of weights, order and views.
        limit: train on a fixed random subset of this many images.
        score_on: names of sets whose k-means scores go into the sidecar, beside those of raw pixels, with
            the number of their images that have a near-duplicate among the training images.
        device: where it trains; in bfloat16 where the device is fast at half precision.

    Returns:
        The sidecar as a dict.

    Raises:
        PGJRError: a class without a name, fewer images than a batch, a checkpoint of another training, a number
            that must be positive, a set to score on that holds classes of Tiny-ImageNet or is not here.
    """
    out = Path(out)
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("minutes", minutes)):
        if value is not None and value <= 0:
            raise PGJRError(f"{name} is {value}: give a positive number.")
    if out.suffix != ".safetensors":
        raise PGJRError(f"{out} is no name for weights: let it end in .safetensors.")
    if seen := [name for name in score_on if name in data.SETS and "class-name" in data.SETS[name].seen_by]:
        raise PGJRError(
            f"{seen[0]} cannot be scored with a class-name prior, which saw its labels: score on another set."
        )
    for name in score_on:
        data.checksum(name)  # a missing set is an error now, not after the training
    image_set = data.load(f"folder:{images_root}", limit=limit)
    if len(image_set.labels) < batch_size:
        raise PGJRError(f"{images_root} holds {len(image_set.labels)} images, less than one batch: lower batch_size.")
    names = read_names(names_tsv, image_set.class_names)
    captions = [[t.format(name) for name in names[c] for t in TEMPLATES] for c in image_set.class_names]
    merges = out.with_suffix(".bpe.gz")
    write_merges(merges, captions)
    tokenizer = SimpleTokenizer(bpe_path=str(merges), context_length=CONTEXT)
    tokens = [tokenizer(lines) for lines in captions]
    config = model_config(image_size, tokenizer.vocab_size)

    torch.manual_seed(seed)
    model = CustomTextCLIP(**{k: v for k, v in config.items() if k != "custom_text"})
    project = nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 128))
    images, labels = torch.from_numpy(image_set.images), torch.from_numpy(image_set.labels)
    sample = images[torch.randperm(len(images))[:512]]
    centre(model.train(), normalise(plain(sample, image_size // 2)), torch.stack([lines[0] for lines in tokens]))
    model, project = model.to(device, memory_format=torch.channels_last), project.to(device)
    images, labels, tokens = images.to(device), labels.to(device), [lines.to(device) for lines in tokens]
    towers = [[*model.visual.parameters(), *project.parameters()], [*model.text.parameters(), model.logit_scale]]
    optimizer = torch.optim.AdamW([{"params": tower} for tower in towers], weight_decay=0.05)
    plan = f"{image_set.checksum} {image_size} {batch_size} {learning_rate} {seed} {epochs} {minutes}"
    checkpoint = out.with_suffix(".checkpoint.safetensors")
    trained = nn.ModuleDict({"model": model, "project": project})
    epoch, step, seconds = _resume(checkpoint, plan, trained, optimizer)
    steps_an_epoch = len(labels) // batch_size
    half = torch.bfloat16 if fast_half(device) else None
    while _fraction(step, steps_an_epoch * epochs, seconds, minutes) < 1:
        torch.manual_seed(
            seed * 10_007 + epoch
        )  # draws depend on the epoch's number only, so that a training can resume
        order = torch.randperm(len(labels))
        bar = progress(order.split(batch_size)[:steps_an_epoch], f"epoch {epoch + 1}", "step")
        for batch in bar:
            start = time.perf_counter()
            done = _fraction(step, steps_an_epoch * epochs, seconds, minutes)
            if done >= 1:
                break
            for group, share in zip(optimizer.param_groups, (1, TEXT_RATE), strict=True):
                group["lr"] = share * learning_rate * min(done / 0.03 + 1e-3, 1) * _cosine(done)
            shares = [sides for start_at, sides in SIDES if done >= start_at][-1]  # the last row that counts by now
            side = round(image_size * shares[torch.randint(len(shares), ())])
            augment = Augment(side, scale=(0.3, 1.0), grayscale=0.1, flip=0.5)
            views = torch.cat([normalise(augment(rescale(images[batch.to(device)]))) for _ in range(2)])
            classes, index = labels[batch.to(device)].unique(return_inverse=True)
            texts = torch.stack([tokens[c][torch.randint(len(tokens[c]), ())] for c in classes])
            with torch.autocast(torch.device(device).type, half or torch.bfloat16, enabled=half is not None):
                pooled = model.visual.trunk(views.contiguous(memory_format=torch.channels_last))
                image = normalize(model.visual.head(pooled).float(), dim=1)
                text = model.encode_text(texts, normalize=True).float()
                own = normalize(project(pooled).float(), dim=1)
            loss = contrastive(image, text, index.repeat(2), model.logit_scale.exp())
            loss = loss + SELF_WEIGHT * view_agreement(*own.chunk(2), SELF_TEMPERATURE)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            model.logit_scale.data.clamp_(0, math.log(100))
            step, seconds = step + 1, seconds + time.perf_counter() - start
            bar.set_postfix(loss=f"{loss.item():.3f}", side=side, refresh=False)
        epoch += 1
        _save(checkpoint, plan, trained, optimizer, epoch, step, seconds)
    sidecar = _write(
        out, model.eval(), config, image_set, names, step, batch_size, seconds, seed, image_size, score_on, device
    )
    checkpoint.unlink()
    return sidecar


def model_config(image_size: int, vocab_size: int) -> dict:
    """Return open_clip's config of the class-name prior: a 5 M-parameter convnet and a small text transformer."""
    return {
        "embed_dim": 256,
        "custom_text": True,
        "vision_cfg": {
            "timm_model_name": "resnet10t_stride16", "timm_model_pretrained": False, "timm_pool": "avg",
            "timm_proj": "linear", "timm_proj_bias": True, "image_size": image_size,
        },
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": vocab_size, "width": 128, "heads": 4, "layers": 2,
            "proj_bias": True,
        },
    }  # fmt: skip


@torch.no_grad()
def centre(model, images, texts) -> None:
    """Set both projections' biases so that embeddings start with mean zero.

    A fresh network maps all inputs to nearly one direction. On the unit sphere that direction hides how they differ,
    and the loss then hardly moves at first.
    """
    image, text = model.encode_image(images), model.encode_text(texts)
    model.visual.head.proj.bias -= image.mean(0)
    model.text.text_projection.bias -= text.mean(0)


def contrastive(image: Tensor, text: Tensor, index: Tensor, scale) -> Tensor:
    """Compute CLIP's symmetric loss (Radford et al., 2021), with all images of a class as positives, as in UniCL.

    Args:
        image: (B, D) rows on the unit sphere.
        text: (C, D) rows on the unit sphere, one caption for each class of the batch.
        index: (B,) int64, the row of ``text`` that belongs to each image.
        scale: inverse temperature.

    Returns:
        A scalar.
    """
    logits = scale * image @ text.T
    positives = one_hot(index, len(text)).float().T
    return (cross_entropy(logits, index) + cross_entropy(logits.T, positives / positives.sum(1, keepdim=True))) / 2


def view_agreement(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Compute SimCLR's loss (Chen et al., 2020), the self-supervised term of SLIP (Mu et al., 2022).

    Args:
        one, other: (B, d) rows on the unit sphere, two views of each image.
        temperature: of the softmax.

    Returns:
        A scalar.
    """
    both = torch.cat([one, other])
    logits = (both @ both.T / temperature).fill_diagonal_(-torch.inf)
    return cross_entropy(logits, torch.arange(len(both), device=both.device).roll(len(one)))


def rescale(images: Tensor) -> Tensor:
    """Scale a random half of the batch down (to 16 pixels at least) and up again, in four groups.

    Args:
        images: (B, 3, S, S) uint8, or float in [0, 1].

    Returns:
        (B, 3, S, S) float in [0, 1].
    """
    images = to_float(images).clone()
    side = images.shape[-1]
    for group in torch.randperm(len(images))[: len(images) // 2].chunk(4):
        small = int(torch.randint(min(16, side), side + 1, ()))
        shrunk = interpolate(images[group], (small, small), mode="bilinear", antialias=True)
        images[group] = interpolate(shrunk, (side, side), mode="bicubic").clamp(0, 1)
    return images


def normalise(images: Tensor) -> Tensor:
    """Turn (B, 3, H, W) images in [0, 1] into the encoder's input."""
    mean, std = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (MEAN, STD))
    return (images - mean) / std


def read_names(path, class_names) -> dict[str, list[str]]:
    """Read the names of every class: WordNet id -> names.

    Raises:
        PGJRError: no such file, or a class without a line.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except FileNotFoundError:
        raise PGJRError(f"The file of class names {path} does not exist: give lines of id, tab, names.") from None
    except ValueError:
        raise PGJRError(f"The file of class names {path} is not UTF-8: give lines of id, tab, names.") from None
    table = {key: [n.strip() for n in rest.split(",")] for key, tab, rest in (x.partition("\t") for x in lines) if tab}
    if missing := [c for c in class_names if c not in table]:
        raise PGJRError(f"{path} has no names for class {missing[0]!r}: add a line of id, tab, names.")
    return {c: table[c] for c in class_names}


class _RecordingRanks(dict):
    """The tokenizer's merge table; it records which of its merges a caption uses."""

    def __init__(self, ranks):
        super().__init__(ranks)
        self.used = set()

    def __contains__(self, pair):
        present = super().__contains__(pair)
        if present:
            self.used.add(pair)
        return present


def write_merges(path, captions) -> None:
    """Write the part of open_clip's token merges that ``captions`` use: same words, a small vocabulary."""
    tokenizer = SimpleTokenizer()
    tokenizer.bpe_ranks = ranks = _RecordingRanks(tokenizer.bpe_ranks)
    for line in (line for lines in captions for line in lines):
        tokenizer.encode(line)
    used = [" ".join(pair) for pair in ranks if pair in ranks.used]
    atomic_write(path, gzip.compress("\n".join(["#version: 0.2", *used]).encode(), mtime=0))


def _fraction(step, steps, seconds, minutes):
    """Return how much of the training is done: 1 or more at its end."""
    return max(step / steps, seconds / (60 * minutes) if minutes else 0)


def _cosine(done):
    return 0.5 * (1 + math.cos(math.pi * min(done, 1)))


def _save(path, plan, model, optimizer, epoch, step, seconds):
    tensors = {f"trained.{k}": v for k, v in model.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{k}": v for k, v in state.items()}
    save_tensors(path, tensors, {"plan": plan, "epoch": str(epoch), "step": str(step), "seconds": str(seconds)})


def _resume(path, plan, model, optimizer):
    """Restore a training that was stopped: (epoch, step, seconds), zeros for a new one."""
    if not path.exists():
        return 0, 0, 0.0
    tensors, meta = load_tensors(path)
    if meta.get("plan") != plan:
        raise PGJRError(f"{path} is the checkpoint of another training: delete it, or repeat its arguments.")
    model.load_state_dict({k.removeprefix("trained."): v for k, v in tensors.items() if k.startswith("trained.")})
    state = {}
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, i, name = key.split(".")
            state.setdefault(int(i), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return int(meta["epoch"]), int(meta["step"]), float(meta["seconds"])


def _write(out, model, config, image_set, names, step, batch_size, seconds, seed, image_size, score_on, device):
    fields = {
        "name": "class-name prior",
        "architecture": config,
        "activation": "gelu",
        "preprocessing": {"size": image_size, "mean": MEAN, "std": STD, "interpolation": "bicubic"},
        "supervision": SUPERVISION,
        "training_data": {
            "set": "Tiny-ImageNet", "split": "train", "images": len(image_set.labels), "classes": len(names),
            "stored_side": image_set.images.shape[-1], "form": "scaled down, lossy", "checksum": image_set.checksum,
        },
        "captions": {"templates": TEMPLATES, "names": "all WordNet names of a class, drawn at random"},
        "tokenizer": f"{out.stem}.bpe.gz",
        "training": {
            "steps": step, "batch_size": batch_size, "views": 2, "seconds": round(seconds), "seed": seed,
            "device": str(device), "self_supervised_weight": SELF_WEIGHT,
            "sides": sorted({round(image_size * share) for _, shares in SIDES for share in shares}),
        },
        "classes_seen": sorted(names),
    }  # fmt: skip
    save_prior(out, model.state_dict(), **fields)
    fields["scores"] = {name: _score(out, name, image_size, image_set.images) for name in score_on}
    save_prior(out, model.state_dict(), **fields)
    atomic_write(out.with_suffix(".md"), card(out, fields))
    return fields


def near_duplicates(images: Tensor, others: Tensor, similarity: float = NEAR) -> int:
    """Count the ``images`` that have a near-duplicate among ``others``, by 16x16 thumbnails.

    A pair counts if the cosine of its thumbnails and that of their edges (grey, without the border) both reach
    ``similarity``: the same colours alone, or the same frame alone, are not enough. The count is an estimate: it
    misses other crops of the same photograph, and may include plain scenes that only look alike.

    Args:
        images: (N, 3, H, W) uint8.
        others: (M, 3, h, w) uint8.
        similarity: least cosine of a pair, in [0, 1].
    """

    def thumbnails(pictures):
        small = torch.cat([plain(part, 16) for part in pictures.split(2048)])
        grey = small.mean(1)[:, 2:-2, 2:-2]
        edges = torch.cat([grey.diff(dim=1).flatten(1), grey.diff(dim=2).flatten(1)], dim=1)
        flat = small.flatten(1)
        return normalize(flat - flat.mean(1, keepdim=True), dim=1), normalize(edges, dim=1)

    (colour, edges), (other_colour, other_edges) = thumbnails(images), thumbnails(others)
    return sum(
        int((torch.minimum(c @ other_colour.T, e @ other_edges.T).amax(1) >= similarity).sum())
        for c, e in zip(colour.split(512), edges.split(512), strict=True)
    )


def _score(weights, name, image_size, training_images):
    """Score k-means on the prior's embedding and on raw pixels: ACC and NMI in percent, mean over five seeds."""
    image_set = data.load(name)
    prior = load_prior(f"file:{weights}")
    images = torch.from_numpy(image_set.images)
    embedding = torch.cat([prior.encode(plain(batch, image_size))[0] for batch in images.split(256)])
    rows = {"images": len(images), "split": image_set.split, "note": image_set.note}
    rows["near_duplicates"] = near_duplicates(images, torch.from_numpy(training_images))
    pixels = plain(images, min(PIXELS, images.shape[-1])).flatten(1)  # more would only cost time
    for label, features in (("prior", embedding), ("pixels", pixels)):
        scores = kmeans_scores(features.numpy(), image_set.labels, len(image_set.class_names))
        rows[label] = {m: round(100 * sum(scores[m]) / len(scores[m]), 1) for m in ("acc", "nmi")}
    return rows


def card(out, fields) -> str:
    """Return the card that goes beside the weights, as Markdown."""
    training, images = fields["training"], fields["training_data"]
    scores = "\n".join(
        f"| {name} ({row['split']}, {row['images']:,}{', ' + row['note'] if row['note'] else ''})"
        f" | {row['prior']['acc']} / {row['prior']['nmi']}"
        f" | {row['pixels']['acc']} / {row['pixels']['nmi']} | {row['near_duplicates']} |"
        for name, row in fields["scores"].items()
    )
    return f"""# class-name prior

`{out.name}` is a small open_clip model (image tower: timm resnet10t without max-pool; a two-layer text
transformer). **It is supervised by class names of Tiny-ImageNet**: it was trained to match images with
captions made of the names of their classes. It is not CLIP, and it is not unsupervised.

- Images: {images["images"]:,} of Tiny-ImageNet's training images, {images["classes"]} classes, scaled to
  {images["stored_side"]}x{images["stored_side"]} pixels and stored with loss. Nothing else; no digits.
- Captions: every WordNet name of a class in {len(TEMPLATES)} templates such as "{TEMPLATES[1]}".
  Images of one class in a batch count as positives for each other.
- Training: {training["steps"]:,} steps of {training["batch_size"]} images in two views each,
  {training["seconds"] / 60:.1f} minutes on {training["device"]}, seed {training["seed"]};
  random crops, flips, colour, down- and up-scaling, inputs of {", ".join(map(str, training["sides"]))} pixels.
- Loss: contrastive between images and captions, plus {SELF_WEIGHT} times SimCLR's loss between the two views
  (a self-supervised term on the image tower, as in SLIP).
- Never scored with it, because it saw their labels: Tiny-ImageNet, ImageNet-10 (3 of its classes) and
  ImageNet-Dogs (1). Other sets also show objects of its classes (dogs, cats, birds, cars): the names it
  learned help there.
- `{out.stem}.json` says how to run it; `{fields["tokenizer"]}` holds the token merges of its captions.

k-means on its embedding beside k-means on pixels, ACC / NMI in percent, mean over five seeds of 20 starts:

| set | class-name prior | pixels | near-duplicates |
|---|---|---|---|
{scores}

Near-duplicates: images of the set whose 16x16 thumbnail and its edges match a training image's (cosine of
{NEAR} or more each). An estimate: other crops of one photograph are not found, and some pairs are only alike.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the script; a mistake in the input is one sentence on stderr and exit status 2."""
    parser = argparse.ArgumentParser(description="Train the class-name prior on images and their class names.")
    parser.add_argument("images", type=Path, metavar="IMAGES", help="folder of class folders named by WordNet id")
    parser.add_argument("names", type=Path, metavar="NAMES", help="lines of WordNet id, tab, comma-separated names")
    parser.add_argument(
        "--out", type=Path, required=True, help="the .safetensors file to write; a .json goes beside it"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="training time at most (default: %(default)s)")
    parser.add_argument(
        "--epochs", type=int, default=1000, help="passes over the images at most (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=128, help="images in a step, two views each (default: %(default)s)"
    )
    parser.add_argument(
        "--score-on", nargs="*", default=["digits"], metavar="SET", help="sets to score (default: digits)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and views (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        pretrain(
            options.images, options.names, options.out, epochs=options.epochs, minutes=options.minutes,
            batch_size=options.batch_size, seed=options.seed, score_on=options.score_on, device=default_device(),
        )  # fmt: skip
    except (PGJRError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command resumes from the last finished epoch.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
