"""Pixels: decode uploads and encode the files of assets, in processes of their own.

- `picture`: what a worker process does with one upload, by Pillow
- `colours`: conversion to sRGB
- `worker`: one worker process
- `pool`: the worker processes, and the uploads that wait for them
"""

from services.imageserver.pixels.picture import Picture, make_files
from services.imageserver.pixels.pool import PicturePool

__all__ = ["Picture", "PicturePool", "make_files"]
