"""Labelled images: data sets and their splits, image preparation and augmentation, and batches.

Every sample depends only on (seed, epoch, index), so that all backends and any number of loading processes see the same
bits.
"""

from repro.data.batch import Batch
from repro.data.dataset import Dataset, open_dataset
from repro.data.image_check import ImageCheck, check_images
from repro.data.loader import Loader
from repro.data.mixing import Mixing
from repro.data.subset import Subset
from repro.data.transform import Transform

__all__ = ["Batch", "Dataset", "ImageCheck", "Loader", "Mixing", "Subset", "Transform", "check_images", "open_dataset"]
