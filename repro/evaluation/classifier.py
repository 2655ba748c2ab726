"""What a trained network says of images, as probabilities. They are the same in every backend but for rounding."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repro.arrays import Arrays
from repro.data import Transform
from repro.errors import ReproError
from repro.interface import TrainSettings, discovery
from repro.specs import Spec
from repro.training import recipe as recipes
from repro.training.loop import predict_filled
from repro.training.resolve import for_each
from repro.training.run_folder import CLASSES, read_recipe
from repro.untrusted import printable
from repro.weights.porting import read_weights

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 32  # images predicted at a time
LARGEST_FILE = 1 << 22  # bytes of class names
REQUIRED = ("image_size", "mean", "std")  # of the Transform: nothing else would make a guess right
# what metadata, a run's config.yaml and flags may say of the Transform; those for training alone change nothing here
PREPARATION = [field.name for field in dataclasses.fields(Transform) if field.name in recipes.FIELDS]


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A network with its canonical weights, a name for each of its outputs, and what prepares its images."""

    spec: Spec
    weights: Arrays
    classes: tuple[str, ...]
    transform: Transform
    metadata: Mapping[str, str]  # of the file


def read_classifier(path: Path, run: Path | None = None, given: Mapping[str, Any] | None = None) -> Classifier:
    """The classifier in a checkpoint of any format that repro.weights.porting reads.

    What the file does not say about itself, or says wrongly, comes from the folder of a `run` and from `given`, which
    wins: "classes" (names in the order of the outputs), and model, options and the fields of Transform as in a Recipe.
    Raises ReproError for a file that cannot be read, for what nobody says, and for what does not fit the network.
    """
    told = (said_by_run(run) if run else {}) | dict(given or {})
    spec, weights, metadata = read_weights(
        path, told.get("model"), told.get("options"), log=lambda line: print(line, file=sys.stderr)
    )
    known = _said_by_file(metadata, path) | told
    missing = [name for name in ("classes", *REQUIRED) if name not in known]
    if missing:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise ReproError(f"{path} does not say its {', '.join(missing)}; give {flags}, or the folder of its run: --run")
    classes = known["classes"]
    if len(classes) != spec.num_classes:
        raise ReproError(
            f"{path} tells {spec.num_classes} classes apart, and there are names for {len(classes)}; "
            "give the right ones: --classes FILE"
        )
    channels = known.setdefault("channels", spec.in_channels)
    known |= {name: for_each(channels, known[name]) for name in ("mean", "std")}
    transform = Transform(**{name: known[name] for name in PREPARATION if name in known})
    spec.trace(transform.image_size)  # refuses a size that is too small; not every framework would
    if channels != spec.in_channels:
        raise ReproError(f"{path} takes images of {spec.in_channels} channels, and these have {channels}")
    return Classifier(spec, weights, classes, transform, metadata)


def said_by_run(path: Path) -> dict[str, Any]:
    """What the folder of a run says of its network, as read_classifier's `given`."""
    values = vars(read_recipe(path))
    said = {name: values[name] for name in ("model", "options", *PREPARATION) if values[name] is not None}
    if (path / CLASSES).is_file():  # a run of an older version has none
        said["classes"] = read_classes(path / CLASSES)
    return said


def read_classes(path: Path) -> tuple[str, ...]:
    """The names in class_indices.json, {"0": "daisy", ...}, or in a text with a name on each line.

    Raises ReproError for another file, and for a name that is there twice.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        text = content.decode("utf-8-sig")
        if len(content) > LARGEST_FILE:
            raise ReproError(f"{path} is longer than {LARGEST_FILE} bytes; is it a list of classes?")
        if path.suffix != ".json":
            return _names([line.strip() for line in text.splitlines() if line.strip()], path)
        found = json.loads(text)
        return _names([found[str(index)] for index in range(len(found))], path)
    except OSError as error:
        raise ReproError(f"cannot read the classes in {path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ReproError(
            f'{path} is no list of classes; write {{"0": "daisy", ...}}, or a name on each line'
        ) from error


def _said_by_file(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    said = recipes.convert(
        {name: _value(metadata[name]) for name in PREPARATION if name in metadata}, f"the metadata of {path}"
    )
    if "classes" in metadata:
        said["classes"] = _names(_value(metadata["classes"]), path)
    return said


def _value(text: str) -> Any:
    """JSON as such, and other text as it is."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _names(values: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(values, list) or not values or not all(isinstance(name, str) and name for name in values):
        raise ReproError(f"the classes in {path} are no names; give others: --classes FILE")
    if len(set(values)) < len(values):
        twice = next(name for name in values if values.count(name) > 1)
        raise ReproError(f"the class {printable(twice)} is twice in {path}; give each class a name of its own")
    return tuple(map(printable, values))


def choose_backend(asked: str | None, trained_on: str | None) -> str:
    """The backend that was asked for; else the one of the training, or else the first, that is installed.

    Raises ReproError where the one that was asked for, or every one, is missing.
    """
    if asked is not None:
        discovery.load_backend(asked)
        return asked
    names = discovery.backend_names()
    for name in sorted(names, key=lambda name: name != trained_on):
        try:
            discovery.load_backend(name)
        except ReproError:
            continue
        return name
    raise ReproError(f"no framework is installed; install one with: pip install -e '.[{names[0]}]' in repro's folder")


def predict(classifier: Classifier, backend: str, images: Iterable[Image]) -> np.ndarray:
    """Probabilities float64 (N, classes) of RGB images of any size."""
    transform = classifier.transform
    pixels = map(transform.pixels, images)
    return probabilities(classifier, backend, (transform.normalise(np.stack(some)) for some in _chunks(pixels)))


def probabilities(classifier: Classifier, backend: str, batches: Iterable[np.ndarray]) -> np.ndarray:
    """The same of batches that are prepared: float32 (N, C, S, S), the first of which is the largest.

    Raises ReproError where the network puts out something that is no number.
    """
    framework = discovery.load_backend(backend)
    trainer = framework.create_trainer(framework.create_model(classifier.spec), TrainSettings())
    trainer.load_weights(classifier.weights)
    found, size = [np.empty((0, len(classifier.classes)))], 0
    for images in batches:
        size = size or len(images)
        found.append(softmax(predict_filled(trainer, images, size)))
        if not np.isfinite(found[-1]).all():
            raise ReproError(f"{classifier.spec.name} puts out NaN or infinity; do its mean and std fit the weights?")
    return np.concatenate(found)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (N, classes) -> probabilities float64 (N, classes). NaN where a logit is, or is infinite."""
    logits = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        logits = np.exp(logits - logits.max(axis=1, keepdims=True))
        return logits / logits.sum(axis=1, keepdims=True)


def _chunks(items: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    iterator = iter(items)
    while some := list(islice(iterator, BATCH)):
        yield some


def write_csv(
    path: Path, files: Sequence[str], classes: Sequence[str], found: np.ndarray, truth: Sequence[str] | None = None
) -> None:
    """A line for each file: its name, its true class where there is `truth`, the most probable class with its
    probability, and the probability of each class, with all digits."""
    import csv

    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", *([] if truth is None else ["true"]), "class", "probability", *classes])
        for index, (name, row) in enumerate(zip(files, found.tolist(), strict=True)):
            best = int(np.argmax(row))
            writer.writerow([name, *([] if truth is None else [truth[index]]), classes[best], row[best], *row])
