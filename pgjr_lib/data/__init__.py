"""Image sets: the table of named sets, folders of images, and how both become arrays. Importing this is torch-free."""

from pgjr_lib.data.folders import list_images
from pgjr_lib.data.loading import ImageSet, available, checksum, checksum_of_part, load, whole_checksum
from pgjr_lib.data.sets import SETS

__all__ = ["SETS", "ImageSet", "available", "checksum", "checksum_of_part", "list_images", "load", "whole_checksum"]
