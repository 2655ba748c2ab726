"""Class probabilities of images, which all backends agree on within rounding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from repro.errors import ReproError
from repro.evaluation.classifier import Classifier
from repro.interface import TrainSettings, discovery
from repro.training.loop import predict_padded

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH_SIZE = 32


def choose_backend(requested: str | None, trained_on: str | None) -> str:
    """Return the requested backend, or else the one that the network was trained on, or else the first installed one.

    Raises ReproError if the requested backend is not installed, or no backend is.
    """
    if requested is not None:
        discovery.load_backend(requested)
        return requested
    names = discovery.backend_names()
    for name in sorted(names, key=lambda name: name != trained_on):
        try:
            discovery.load_backend(name)
        except ReproError:
            continue
        return name
    raise ReproError(f"no framework is installed; install one with: pip install -e '.[{names[0]}]' in repro's folder")


def predict_images(classifier: Classifier, backend: str, images: Iterable[Image]) -> np.ndarray:
    """Return the probabilities float64 (N, classes) of RGB images of any size.

    Raises ReproError if the network computes NaN or infinity.
    """
    transform = classifier.transform
    planes = (transform.pixels(image).transpose(2, 0, 1) for image in images)
    return predict_batches(classifier, backend, (transform.normalise(np.stack(batch)) for batch in _batches(planes)))


def predict_batches(classifier: Classifier, backend: str, batches: Iterable[np.ndarray]) -> np.ndarray:
    """Return the probabilities float64 (N, classes) of prepared images in batches float32 (batch, C, H, W).

    The first batch is the largest. Raises ReproError if the network computes NaN or infinity.
    """
    framework = discovery.load_backend(backend)
    trainer = framework.create_trainer(framework.create_model(classifier.spec), TrainSettings())
    trainer.load_weights(classifier.weights)
    probabilities = [np.empty((0, len(classifier.classes)))]
    batch_size = 0
    for images in batches:
        batch_size = batch_size or len(images)
        probabilities.append(softmax(predict_padded(trainer, images, batch_size)))
        if not np.isfinite(probabilities[-1]).all():
            raise ReproError(f"{classifier.spec.name} computes NaN or infinity; do its mean and std fit the weights?")
    return np.concatenate(probabilities)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities float64 (N, classes) of logits (N, classes).

    A row with a logit of NaN or plus infinity contains NaN.
    """
    logits = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)


def _batches(items: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH_SIZE)):
        yield batch
