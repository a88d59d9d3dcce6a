"""Image sets: the table of named sets, folders of images, and how both become arrays. Importing this is torch-free.

Names are imported on first use, so that the command line starts fast.
"""

from importlib import import_module

_HOME = {
    "list_images": "folders",
    "ImageSet": "loading",
    "available": "loading",
    "checksum": "loading",
    "checksum_of_part": "loading",
    "load": "loading",
    "whole_checksum": "loading",
    "SETS": "sets",
}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'pgjr_lib.data' has no attribute {name!r}")
    return getattr(import_module(f"pgjr_lib.data.{_HOME[name]}"), name)
