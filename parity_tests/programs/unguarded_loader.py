"""Load batches in two processes, without the guard `if __name__ == "__main__"` that they need."""

from __future__ import annotations

from repro.data import Loader, Transform, open_dataset

with Loader(open_dataset("digits"), batch_size=8, workers=2) as loader:
    list(loader.val(Transform(image_size=8)))
