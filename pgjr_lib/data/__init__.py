"""Image sets: the table of named sets, folders of images, and how both become arrays. Importing this is torch-free.

Names are imported on first use, so that the command line starts fast.
"""

from pgjr_lib.lazy import on_first_use

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
__getattr__ = on_first_use(__name__, _HOME)
