"""Compute what the prior gives for a chunk of images: the embedding, and the map on its principal axes, plain or of a view."""

import re
import sys
from dataclasses import dataclass
from hashlib import sha256

import torch
import torch.nn.functional as F
from torch import Tensor

from pgjr_lib.augment import Augment, plain
from pgjr_lib.errors import PGJRError
from pgjr_lib.priors.config import CHUNK, PCA_IMAGES, PLAIN, FeatureConfig
from pgjr_lib.priors.encoder import Prior

# as torch and OpenVINO put it; oneDNN has but one sentence for all that it cannot set up
OUT_OF_MEMORY = "can't allocate memory|not enough memory|bad_alloc|[Oo]ut of memory|could not create a primitive"


@dataclass
class Encoder:
    """Run a prior over chunks of images. The random numbers of a view depend on (seed, view, chunk) only.

    Attributes:
        config: which views, and how many channels the maps keep.
        prior: the frozen encoder.
        images: (N, 3, H, W) uint8.
        labels: (N,) int64; the plain part keeps them.
        batch_size: images in a forward pass. It halves where memory runs out.
        pca: what :meth:`fit_pca` returned; needed before :meth:`chunk`.
    """

    config: FeatureConfig
    prior: Prior
    images: Tensor
    labels: Tensor
    batch_size: int
    pca: dict[str, Tensor] | None = None

    def fit_pca(self) -> dict[str, Tensor]:
        """Return mean and principal axes of the plain maps' channels, over a fixed random subset of the images.

        Raises:
            PGJRError: the maps are smaller than ``config.map_side``.
        """
        picked = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(0))[:PCA_IMAGES]
        total, square, positions = 0, 0, 0
        for rows in picked.sort().values.split(CHUNK):
            _, maps = self._encode(plain(self.images[rows].to(self.prior.device), self.prior.image_size))
            vectors = maps.permute(0, 2, 3, 1).flatten(0, 2).double()
            total, square = total + vectors.sum(0), square + vectors.T @ vectors
            positions += len(vectors)
        mean = total / positions
        axes = torch.linalg.eigh((square / positions - mean.outer(mean)).cpu()).eigenvectors.flip(1)
        axes = axes[:, : self.config.map_channels]
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # the largest entry is positive
        return {"mean": mean.float().cpu(), "axes": axes.float()}

    def chunk(self, part: str, c: int, rows: Tensor) -> dict[str, Tensor]:
        """Encode chunk number ``c``, the images ``rows`` (B,), as ``part`` of ``config.part_names`` says.

        Returns:
            ``embedding`` (B, D), float32 of plain images and float16 of a view, ``map`` (B, C, h, w) float16, and with
            the plain ones ``labels`` (B,).
        """
        images = self.images[rows].to(self.prior.device)
        if part == PLAIN:
            embedding, maps = self._encode(plain(images, self.prior.image_size))
            return {"embedding": embedding, "map": self._project(maps), "labels": self.labels[rows]}
        augment = Augment(self.prior.image_size, (self.config.crop_scale, 1.0), flip=0.5 * self.config.flip)
        with torch.random.fork_rng(devices=[]):
            name = f"{self.config.seed}|{part.rpartition('-')[2]}|{c}"
            torch.manual_seed(int(sha256(name.encode()).hexdigest()[:15], 16))
            views = augment(images)
        embedding, maps = self._encode(views)
        return {"embedding": embedding.half(), "map": self._project(maps)}

    def _encode(self, batch):
        embedding, maps = self._forward(batch)
        side = self.config.map_side
        if side is None:
            return embedding, maps
        if min(maps.shape[-2:]) < side:
            shape = "x".join(map(str, maps.shape[-2:]))
            raise PGJRError(f"map_side is {side}, but the prior's map is {shape}: give at most {min(maps.shape[-2:])}.")
        return embedding, F.adaptive_avg_pool2d(maps, side)

    def _forward(self, batch):
        """Run the prior; where memory runs out, with half as many images at a time, from then on.

        Raises:
            PGJRError: there is no memory for one image.
        """
        self.batch_size = min(self.batch_size, CHUNK)
        while True:
            try:
                pairs = [self.prior.encode(images) for images in batch.split(self.batch_size)]
                return tuple(torch.cat(tensors) for tensors in zip(*pairs, strict=True))
            except (RuntimeError, MemoryError) as error:  # torch has no type of its own for a CPU's memory
                if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not re.search(OUT_OF_MEMORY, str(error)):
                    raise
                reason = str(error) or type(error).__name__
            # outside of the except clause, whose traceback holds the tensors of the failed attempt
            if self.batch_size == 1:
                raise PGJRError(f"There is not enough memory to encode one image ({reason}): free some, or take a smaller image_size.")
            self.batch_size //= 2
            print(f"out of memory: going on with {self.batch_size} images at a time.", file=sys.stderr)
            if self.prior.device.type == "cuda":
                torch.cuda.empty_cache()

    def _project(self, maps):
        """Project (B, C, h, w) maps on the principal axes: (B, c, h, w) float16."""
        mean, axes = (self.pca[k].to(maps) for k in ("mean", "axes"))
        return torch.einsum("bchw,cd->bdhw", maps - mean.view(1, -1, 1, 1), axes).half()
