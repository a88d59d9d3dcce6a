"""What decides the features, and the key it gives them. Nothing here imports torch, so that planning is light."""

import json
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, Field

CHUNK = 256  # images a file
PCA_IMAGES = 4096  # plain images that the axes of the maps are fitted on, at most
FORMAT = 1  # raised whenever the same config would give other bytes


class FeatureConfig(BaseModel):
    """What decides the features; ``crop_scale`` is a view's least area, no ``image_size`` the prior's."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: str
    split: str = "test"
    limit: int | None = Field(None, ge=1)
    prior: str = "class-name"
    image_size: int | None = Field(None, ge=8)
    views: int = Field(8, ge=0)
    crop_scale: float = Field(0.2, gt=0, le=1)
    flip: bool = False
    map_channels: int = Field(64, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)


def feature_key(config: FeatureConfig, data_checksum: str, weights_checksum: str) -> str:
    """16 hexadecimal digits that change whenever the features would."""
    parts = [FORMAT, CHUNK, config.model_dump(), data_checksum, weights_checksum]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
