"""The class-name prior: a small open_clip model trained on images and captions made of their class names.

This is supervision by class names, and everything that uses the weights says so.
"""

import gzip
import math
import time
from pathlib import Path

import torch
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, normalize, one_hot
from tqdm import tqdm

from pgjr_book.run_config import LABELS_SEEN
from pgjr_lib.augment import Augment, plain, to_float
from pgjr_lib.data import loading as datasets
from pgjr_lib.errors import PGJRError
from pgjr_lib.evaluation import kmeans_scores
from pgjr_lib.priors.encoder import fast_half, load_prior, save_prior
from pgjr_lib.storage import atomic_write, load_tensors, save_tensors

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# alike in shape, so that captions differ by their names from the first step on
TEMPLATES = (
    "a photo of a {}.", "a small photo of a {}.", "a blurry photo of a {}.", "a close-up photo of a {}.",
    "a cropped photo of a {}.", "a dark photo of a {}.",
)  # fmt: skip
TEXT_RATE = 0.3  # the text tower's share of the learning rate: faster, its captions collapse before images differ
# (from this fraction of the training on, sides / image_size to draw from): small inputs first, because they are
# fast and because small images are in the prior's world; the last part is at the size the prior then asks for
SIDES = ((0.0, (0.5, 0.75)), (0.7, (0.75, 1.0)))
PIXELS = 32  # side of the images that k-means on pixels sees, at most
NEAR = 0.8  # similarity from which two thumbnails count as near-duplicates
SELF_WEIGHT, SELF_TEMPERATURE = 0.5, 0.2  # of the self-supervised term
CONTEXT = 20
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
        images_root: folder with one folder a class, named by WordNet id.
        names_tsv: lines of WordNet id, tab, comma-separated names.
        out: ``x.safetensors``; ``x.json``, ``x.bpe.gz`` and the card ``x.md`` go beside it.
        epochs: passes over the images at most.
        minutes: training time at most; the learning rate reaches zero at whichever ends first.
        image_size: side of the input in pixels at the end of the training (and what the prior then asks for).
        batch_size, learning_rate, seed: of AdamW with a cosine schedule.
        limit: a fixed random subset of the images.
        score_on: names of sets whose k-means scores go into the sidecar, beside those of raw pixels, with
            the number of their images that have a near-duplicate among the training images.
        device: where it trains; in bfloat16 where the device is fast at it.

    Returns:
        The sidecar as a dict.

    Raises:
        PGJRError: a class without a name, fewer images than a batch, a checkpoint of another training, a number
            that must be positive, a set to score on that holds classes of Tiny-ImageNet.
    """
    out = Path(out)
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("minutes", minutes)):
        if value is not None and value <= 0:
            raise PGJRError(f"{name} is {value}: give a positive number.")
    if out.suffix != ".safetensors":
        raise PGJRError(f"{out} is no name for weights: let it end in .safetensors.")
    if seen := [name for name in score_on if name in LABELS_SEEN]:
        raise PGJRError(f"{seen[0]} cannot be scored with a class-name prior, which saw its labels: score on another set.")
    for name in score_on:
        datasets.checksum(name)  # a set that is not there is told now, not after the training
    data = datasets.load(f"folder:{images_root}", limit=limit)
    if len(data.labels) < batch_size:
        raise PGJRError(f"{images_root} holds {len(data.labels)} images, less than one batch: lower batch_size.")
    names = read_names(names_tsv, data.class_names)
    captions = [[t.format(name) for name in names[c] for t in TEMPLATES] for c in data.class_names]
    merges = out.with_suffix(".bpe.gz")
    write_merges(merges, captions)
    tokenizer = SimpleTokenizer(bpe_path=str(merges), context_length=CONTEXT)
    tokens = [tokenizer(lines) for lines in captions]
    config = model_config(image_size, tokenizer.vocab_size)

    torch.manual_seed(seed)
    model = CustomTextCLIP(**{k: v for k, v in config.items() if k != "custom_text"})
    project = nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 128))
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    sample = images[torch.randperm(len(images))[:512]]
    centre(model.train(), normalise(plain(sample, image_size // 2)), torch.stack([lines[0] for lines in tokens]))
    model, project = model.to(device, memory_format=torch.channels_last), project.to(device)
    images, labels, tokens = images.to(device), labels.to(device), [lines.to(device) for lines in tokens]
    towers = [[*model.visual.parameters(), *project.parameters()], [*model.text.parameters(), model.logit_scale]]
    optimizer = torch.optim.AdamW([{"params": tower} for tower in towers], weight_decay=0.05)
    plan = f"{data.checksum} {image_size} {batch_size} {learning_rate} {seed} {epochs} {minutes}"
    checkpoint = out.with_suffix(".checkpoint.safetensors")
    trained = nn.ModuleDict({"model": model, "project": project})
    epoch, step, seconds = _resume(checkpoint, plan, trained, optimizer)
    steps_an_epoch = len(labels) // batch_size
    half = torch.bfloat16 if fast_half(device) else None
    while _progress(step, steps_an_epoch * epochs, seconds, minutes) < 1:
        torch.manual_seed(seed * 10_007 + epoch)  # an epoch's draws depend on its number only, so it can resume
        order = torch.randperm(len(labels))
        bar = tqdm(order.split(batch_size)[:steps_an_epoch], desc=f"epoch {epoch + 1}", mininterval=10)
        for batch in bar:
            start = time.perf_counter()
            done = _progress(step, steps_an_epoch * epochs, seconds, minutes)
            if done >= 1:
                break
            for group, share in zip(optimizer.param_groups, (1, TEXT_RATE), strict=True):
                group["lr"] = share * learning_rate * min(done / 0.03 + 1e-3, 1) * _cosine(done)
            shares = [sides for start_at, sides in SIDES if done >= start_at][-1]
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
        out, model.eval(), config, data, names, step, batch_size, seconds, seed, image_size, score_on, device
    )
    checkpoint.unlink()
    return sidecar


def model_config(image_size: int, vocab_size: int) -> dict:
    """open_clip's config of the class-name prior: a 5 M-parameter convnet and a small text transformer."""
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

    A fresh network maps all inputs to nearly one direction, and on the unit sphere that hides what differs:
    the loss then hardly moves at first.
    """
    image, text = model.encode_image(images), model.encode_text(texts)
    model.visual.head.proj.bias -= image.mean(0)
    model.text.text_projection.bias -= text.mean(0)


def contrastive(image: Tensor, text: Tensor, index: Tensor, scale) -> Tensor:
    """CLIP's symmetric loss (Radford et al., 2021) where all images of one class are positives, as in UniCL.

    Args:
        image: (B, D) rows on the unit sphere.
        text: (C, D) rows on the unit sphere, one caption for each class of the batch.
        index: (B,) the row of ``text`` that is each image's class.
        scale: inverse temperature.
    """
    logits = scale * image @ text.T
    positives = one_hot(index, len(text)).float().T
    return (cross_entropy(logits, index) + cross_entropy(logits.T, positives / positives.sum(1, keepdim=True))) / 2


def view_agreement(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """SimCLR's loss (Chen et al., 2020), the self-supervised term of SLIP (Mu et al., 2022).

    Args:
        one, other: (B, d) rows on the unit sphere, two views of each image.
        temperature: of the softmax.
    """
    both = torch.cat([one, other])
    logits = (both @ both.T / temperature).fill_diagonal_(-torch.inf)
    return cross_entropy(logits, torch.arange(len(both), device=both.device).roll(len(one)))


def rescale(images: Tensor) -> Tensor:
    """Scale a random half of the batch down (to 16 pixels at least) and up again, in four groups."""
    images = to_float(images).clone()
    side = images.shape[-1]
    for group in torch.randperm(len(images))[: len(images) // 2].chunk(4):
        small = int(torch.randint(min(16, side), side + 1, ()))
        shrunk = interpolate(images[group], (small, small), mode="bilinear", antialias=True)
        images[group] = interpolate(shrunk, (side, side), mode="bicubic").clamp(0, 1)
    return images


def normalise(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> the encoder's input."""
    mean, std = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (MEAN, STD))
    return (images - mean) / std


def read_names(path, class_names) -> dict[str, list[str]]:
    """WordNet id -> its names, for every class."""
    try:
        lines = Path(path).read_text().splitlines()
    except FileNotFoundError:
        raise PGJRError(f"The file of class names {path} does not exist: give lines of id, tab, names.") from None
    table = {key: [n.strip() for n in rest.split(",")] for key, tab, rest in (x.partition("\t") for x in lines) if tab}
    if missing := [c for c in class_names if c not in table]:
        raise PGJRError(f"{path} has no names for class {missing[0]!r}: add a line of id, tab, names.")
    return {c: table[c] for c in class_names}


class _Recording(dict):
    """The tokenizer's merge table, noting which merges are made."""

    def __init__(self, ranks):
        super().__init__(ranks)
        self.made = set()

    def __contains__(self, pair):
        found = super().__contains__(pair)
        self.made |= {pair} if found else set()
        return found


def write_merges(path, captions) -> None:
    """Write the part of open_clip's token merges that ``captions`` use: same words, a small vocabulary."""
    tokenizer = SimpleTokenizer()
    tokenizer.bpe_ranks = ranks = _Recording(tokenizer.bpe_ranks)
    for line in (line for lines in captions for line in lines):
        tokenizer.encode(line)
    used = [" ".join(pair) for pair in ranks if pair in ranks.made]
    atomic_write(path, gzip.compress("\n".join(["#version: 0.2", *used]).encode(), mtime=0))


def _progress(step, steps, seconds, minutes):
    return max(step / steps, seconds / (60 * minutes) if minutes else 0)


def _cosine(done):
    return 0.5 * (1 + math.cos(math.pi * min(done, 1)))


def _save(path, plan, model, optimizer, epoch, step, seconds):
    tensors = {f"trained.{k}": v for k, v in model.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{k}": v for k, v in state.items()}
    save_tensors(path, tensors, {"plan": plan, "epoch": str(epoch), "step": str(step), "seconds": str(seconds)})


def _resume(path, plan, model, optimizer):
    """(epoch, step, seconds) of a training that was stopped, or zeros."""
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


def _write(out, model, config, data, names, step, batch_size, seconds, seed, image_size, score_on, device):
    fields = {
        "name": "class-name prior",
        "architecture": config,
        "activation": "gelu",
        "preprocessing": {"size": image_size, "mean": MEAN, "std": STD, "interpolation": "bicubic"},
        "supervision": SUPERVISION,
        "training_data": {
            "set": "Tiny-ImageNet", "split": "train", "images": len(data.labels), "classes": len(names),
            "stored_side": data.images.shape[-1], "form": "scaled down, lossy", "checksum": data.checksum,
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
    fields["scores"] = {name: _score(out, name, image_size, data.images) for name in score_on}
    save_prior(out, model.state_dict(), **fields)
    atomic_write(out.with_suffix(".md"), card(out, fields))
    return fields


def near_duplicates(images: Tensor, others: Tensor, similarity: float = NEAR) -> int:
    """How many of ``images`` have a near-duplicate among ``others``, by 16x16 thumbnails.

    A pair counts if the cosine of its thumbnails and that of their edges (grey, without the border) both reach
    ``similarity``: alike in colour alone, or in a frame alone, is not enough. Another crop of the same
    photograph is not found, and a plain scene may be found by mistake: it is an estimate.

    Args:
        images, others: (N, 3, H, W) and (M, 3, h, w) uint8.
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
    """k-means ACC and NMI in percent, mean over five seeds: the prior's embedding beside raw pixels."""
    data = datasets.load(name)
    prior = load_prior(f"file:{weights}")
    images = torch.from_numpy(data.images)
    embedding = torch.cat([prior.encode(plain(batch, image_size))[0] for batch in images.split(256)])
    rows = {"images": len(images), "split": data.split, "note": data.note}
    rows["near_duplicates"] = near_duplicates(images, torch.from_numpy(training_images))
    pixels = plain(images, min(PIXELS, images.shape[-1])).flatten(1)  # more would only cost time
    for label, features in (("prior", embedding), ("pixels", pixels)):
        scores = kmeans_scores(features.numpy(), data.labels, len(data.class_names))
        rows[label] = {m: round(100 * sum(scores[m]) / len(scores[m]), 1) for m in ("acc", "nmi")}
    return rows


def card(out, fields) -> str:
    """The card that goes beside the weights, in plain words."""
    training, data = fields["training"], fields["training_data"]
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

- Images: {data["images"]:,} of Tiny-ImageNet's training images, {data["classes"]} classes, scaled to
  {data["stored_side"]}x{data["stored_side"]} pixels and stored with loss. Nothing else; no digits.
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
- `{Path(out).stem}.json` says how to run it; `{fields["tokenizer"]}` holds the token merges of its captions.

k-means on its embedding beside k-means on pixels, ACC / NMI in percent, mean over five seeds of 20 starts:

| set | class-name prior | pixels | near-duplicates |
|---|---|---|---|
{scores}

Near-duplicates: images of the set whose 16x16 thumbnail and its edges match a training image's (cosine of
{NEAR} or more each). An estimate: other crops of one photograph are not found, and some pairs are only alike.
"""
