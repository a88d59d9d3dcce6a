"""Build the frozen networks behind the priors: from images to an embedding and a feature map, whatever the architecture.

There are two kinds. An open_clip architecture (a name or a config) is built by open_clip, and its image tower is used.
A timm architecture (``{"timm_model": name}``) is built by timm inside open_clip's adapter, which gives it the same
interface as a tower.
"""

import logging
import tempfile
from pathlib import Path
from pickle import UnpicklingError

import open_clip
import timm
import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.model import resize_pos_embed
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from pgjr_lib.errors import PGJRError
from pgjr_lib.storage import write_json


@timm.models.register_model
def resnet10t_stride16(pretrained=False, **kwargs):
    """Build timm's resnet10t without the max-pool of its stem, so that its last map has output stride 16."""
    model = timm.create_model("resnet10t", pretrained=False, **kwargs)
    model.maxpool = nn.Identity()
    return model


class Backbone(nn.Module):
    """A frozen network in eval mode that returns an embedding and a feature map.

    The map is the last one at output stride 16 or finer. A ViT with larger patches has only its own grid: its map holds
    the patch tokens after the last norm, as they lie in the image.

    Attributes:
        visual: the image tower, with open_clip's ``forward_intermediates``.
        image_size: side of its input in pixels.
        map_indices: which of the tower's maps it computes; the first of them is returned.
    """

    def __init__(self, visual: nn.Module, preprocessing: dict):
        super().__init__()
        self.visual = visual
        self.image_size = preprocessing["size"]
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(preprocessing[name]).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)
        self.map_indices = None
        maps = self._intermediates(torch.zeros(1, 3, self.image_size, self.image_size))["image_intermediates"]
        fine = [i for i, m in enumerate(maps) if m.shape[-1] * 16 >= self.image_size]
        self.map_indices = list(range(fine[-1] if fine else len(maps) - 1, len(maps)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, 3, S, S) in [0, 1]: embedding (B, D), map (B, C, H, W)."""
        out = self._intermediates(images)
        return out["image_features"], out["image_intermediates"][0]

    def _intermediates(self, images):
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        # normalize_intermediates applies a ViT's last norm to its tokens; a convnet ignores it
        return self.visual.forward_intermediates(x, indices=self.map_indices, normalize_intermediates=True)


def build(spec: dict, image_size: int | None = None) -> Backbone:
    """Build the network that a prior's name stands for.

    Args:
        spec: as :func:`pgjr_lib.priors.names.resolve` returns it; without a path, the weights are random with seed 0.
        image_size: side of the input, if not the prior's own (a ViT's position embedding is interpolated).

    Raises:
        PGJRError: the checkpoint holds another model.
    """
    own_size = spec["preprocessing"]["size"]
    size = image_size or own_size
    timm_model = isinstance(spec["architecture"], dict) and "timm_model" in spec["architecture"]
    logging.disable(logging.WARNING)  # open_clip warns of random weights, which are asked for here
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            visual = _timm_tower(spec) if timm_model else _open_clip_tower(spec, own_size, size)
    except (RuntimeError, KeyError, ValueError, AttributeError, OSError, UnpicklingError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise PGJRError(
            f"{spec['path']} does not hold the model its sidecar names ({reason}): correct one of them."
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    return Backbone(visual, {**spec["preprocessing"], "size": size})


def _timm_tower(spec) -> nn.Module:
    """Build a timm model that ends in its pooled features."""
    architecture = spec["architecture"]
    tower = TimmModel(architecture["timm_model"], architecture["embed_dim"], pool="avg", proj="none")
    if spec["path"]:
        own = tower.trunk.state_dict()
        # the checkpoint has other names, but timm's order; its classifier comes last and is not used
        *state, _, _ = torch.load(spec["path"], map_location="cpu", weights_only=True).values()
        if [v.shape for v in state] != [v.shape for v in own.values()]:
            raise ValueError("its parameters differ in number or shape")
        tower.trunk.load_state_dict(dict(zip(own, state, strict=True)))
    return tower


def _open_clip_tower(spec, own_size, size) -> nn.Module:
    """Build the image tower of an open_clip model."""
    architecture, path = spec["architecture"], spec["path"]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = str(path) if path else None
        if isinstance(architecture, dict):  # open_clip takes a user's config from a folder, with the weights beside it
            write_json(Path(folder, "open_clip_config.json"), {"model_cfg": architecture})
            if path:
                safe = path.suffix == ".safetensors"
                Path(folder, HF_SAFE_WEIGHTS_NAME if safe else HF_WEIGHTS_NAME).symlink_to(path.resolve())
            architecture, checkpoint = f"local-dir:{folder}", None
        model = open_clip.create_model(architecture, checkpoint, force_image_size=own_size)
        if size != own_size:  # resized in float32: half has no bicubic filter on CPU
            state = model.state_dict()
            model = open_clip.create_model(architecture, force_image_size=size)
            resize_pos_embed(state, model)
            model.load_state_dict(state)
    return model.visual
