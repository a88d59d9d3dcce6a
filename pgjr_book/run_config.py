"""One run's configuration: its fields, which of them its method reads, and the hash over those."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pgjr_lib.priors.config import FeatureConfig

RESULTS_VERSION = 1  # raise it when a change of the code changes results: old records are then computed anew

LABELS_SEEN = ("tiny-imagenet", "imagenet-10", "imagenet-dogs")  # sets with classes the class-name prior was taught
EXTRAS = ("landscape", "exemplars", "snapshots")  # what is recorded besides; at 0 they leave the key as it was
DATA = ("dataset", "split", "limit", "image_size", "kmeans_seeds")
PRIOR = ("prior", "views", "crop_scale", "flip", "map_channels")
TRAINING = ("epochs", "batch_size", "lr", "tau1", "tau2", "alpha", "bank_momentum", "momentum", "weight_decay",
            "dim", "precision", "eval_every", "seed", *EXTRAS)  # fmt: skip
JIGSAW = ("jigsaw", "mode", "combine", "n", "g", "per_channel", "beta")
READS = {  # the fields each method's result depends on
    "pixels": (*DATA, "landscape", "exemplars"),
    "prior": (*DATA, *PRIOR, "landscape", "exemplars"),
    "pgjr": (*DATA, *PRIOR, *TRAINING, *JIGSAW, "map", "branch"),
    "idfd": (*DATA, *TRAINING, "backbone", "crop_scale"),
    "gjr": (*DATA, *TRAINING, *JIGSAW, "backbone", "at", "crop_scale"),
}

# YAML reads a bare on or off as a boolean; both spellings mean the same here
Switch = Annotated[Literal["on", "off", "frozen", "dense", "permuted"],
                   BeforeValidator(lambda v: {True: "on", False: "off"}[v] if isinstance(v, bool) else v)]  # fmt: skip


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and wrong types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RunConfig(Strict):
    """One run. Symbols as on the method page; sizes in pixels; ``limit`` None takes every image.

    Recorded too where they are asked for: ``landscape`` single starts of k-means, ``exemplars`` images of each
    cluster, ``snapshots`` of the features through training.
    """

    method: Literal["pixels", "prior", "pgjr", "idfd", "gjr"]
    dataset: str
    split: Literal["train", "test", "all"] = "test"
    limit: int | None = Field(None, ge=2)
    image_size: int | None = Field(None, ge=4)
    kmeans_seeds: int = Field(5, ge=1)
    prior: str | None = None
    views: int = Field(8, ge=0)
    crop_scale: float = Field(0.2, gt=0, le=1)
    flip: bool = False
    map_channels: int = Field(64, ge=1)
    backbone: Literal["thin", "resnet18", "resnet34"] = "resnet18"
    at: Literal["pixel", "layer3", "layer4"] = "layer3"
    map: Literal["spatial", "embedding"] = "spatial"
    branch: Literal["none", "supplement", "replace"] = "supplement"
    jigsaw: Switch = "on"
    mode: Literal["surround", "reference", "sequential"] = "surround"
    combine: Literal["residual", "replace", "concat"] = "residual"
    n: int = Field(2, ge=2, le=64)
    g: int = Field(1, ge=1, le=1024)
    per_channel: bool = False
    epochs: int = Field(1, ge=1)
    batch_size: int = Field(128, ge=2)
    lr: float = Field(0.03, gt=0)
    tau1: float = Field(1.0, gt=0)
    tau2: float = Field(2.0, gt=0)
    alpha: float = Field(1.0, ge=0)
    beta: float = Field(0.0, ge=0)
    bank_momentum: float = Field(0.5, ge=0, lt=1)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    dim: int = Field(128, ge=2, le=65536)
    precision: Literal["fp32", "bf16"] = "fp32"
    eval_every: int = Field(1, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)
    landscape: int = Field(0, ge=0)
    exemplars: int = Field(0, ge=0)
    snapshots: int = Field(0, ge=0)
    label: str = ""

    def relevant(self) -> dict:
        """The fields the result depends on, in a fixed order."""
        names = [name for name in READS[self.method] if name not in EXTRAS or getattr(self, name)]
        return {name: getattr(self, name) for name in ("method", *names)}

    def hash(self) -> str:
        """16 hexadecimal digits over :meth:`relevant` and ``RESULTS_VERSION``."""
        return digest(self.relevant(), RESULTS_VERSION)

    def mistake(self) -> str | None:
        """What the method needs and these fields do not give, in half a sentence."""
        if self.method in ("idfd", "gjr") and self.image_size is None:
            return f"method={self.method} needs a size of its images: add for example image_size=32"
        if self.method in ("prior", "pgjr") and self.prior is None:
            return f"method={self.method} needs a prior: add for example prior=class-name"
        if self.method in ("prior", "pgjr") and (self.image_size or 8) < 8:  # FeatureConfig's bound
            return f"image_size is {self.image_size}, but a prior needs 8 or more"
        if self.jigsaw == "dense" and self.per_channel:
            return "jigsaw=dense mixes channels, so it has no weights of each channel's own: leave per_channel off"

    def features(self) -> FeatureConfig | None:
        """The features this run stands on; None for methods that read pixels."""
        if self.method not in ("prior", "pgjr"):
            return None
        names = ("dataset", "split", "limit", "prior", "image_size", "views", "crop_scale", "flip", "map_channels")
        return FeatureConfig(**{name: getattr(self, name) for name in names})


def digest(*parts) -> str:
    """16 hexadecimal digits over JSON-like ``parts``."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
