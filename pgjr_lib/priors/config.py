"""Define what decides the features, and the key that it gives them. Imports no torch, so that planning stays light."""

import json
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pgjr_lib.errors import PGJRError

CHUNK = 256  # images in a file
PCA_IMAGES = 4096  # plain images that the axes of the maps are fitted on, at most
PLAIN = "plain"  # the part of a feature folder that holds the images without augmentation
FORMAT = 3  # raise it whenever the same config would give other bytes


class FeatureConfig(BaseModel):
    """Decide the features: which images, which prior, which views.

    Attributes:
        dataset, split, limit, fold: as for :func:`pgjr_lib.data.load`.
        prior: as for :func:`pgjr_lib.priors.encoder.load_prior`.
        image_size: side of the prior's input in pixels; None for the prior's own.
        views: augmented views of each image, K.
        crop_scale: least area of a view, as a fraction of the image.
        flip: whether views are mirrored at random.
        map_channels: principal components that the feature map keeps, at most.
        map_side: side that the feature map is pooled to; None leaves it as it is.
        seed: of the views.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: str
    split: str = "test"
    limit: int | None = Field(None, ge=1)
    fold: int | None = Field(None, ge=0)
    prior: str = "class-name"
    image_size: int | None = Field(None, ge=8)
    views: int = Field(8, ge=0)
    crop_scale: float = Field(0.2, gt=0, le=1)
    flip: bool = False
    map_channels: int = Field(64, ge=1)
    map_side: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)


def check_config(config: FeatureConfig | dict) -> FeatureConfig:
    """Return a validated FeatureConfig, from itself or from a dict of its fields.

    Raises:
        PGJRError: an unknown field, a missing one, or a value that a field does not take.
    """
    if isinstance(config, FeatureConfig):
        return config
    try:
        return FeatureConfig.model_validate(config)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(FeatureConfig.model_fields)
            raise PGJRError(f"There is no feature setting {field!r}: known are {known}.") from None
        raise PGJRError(f"The feature setting {field!r} is wrong: {first['msg']} (got {first['input']!r}).") from None


def feature_key(config: FeatureConfig, data_checksum: str, weights_checksum: str) -> str:
    """Return 16 hexadecimal digits that change whenever a feature would.

    The number of views does not enter: fewer views are a prefix of more.
    """
    parts = [FORMAT, CHUNK, config.model_dump(exclude={"views"}), data_checksum, weights_checksum]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def part_names(views: int) -> list[str]:
    """Return the parts of a feature folder with ``views`` views: ``plain``, ``view-0``, ``view-1``, ..."""
    return [PLAIN, *(f"view-{view}" for view in range(views))]


def manifest_name(views: int | str) -> str:
    """Return the file that lists the parts of a folder with ``views`` views. It is written last, when all are whole."""
    return f"manifest-{views}.json"
