"""MindSpore as its users call it: networks of MindCV, and image folders of mindspore.dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from repro.errors import ReproError
from repro.interface.peers import Peer

PACKAGES = ("mindspore", "mindcv")
ZOO = {
    "mobilenet_v3_small": "mobilenet_v3_small_100", "shufflenet_v2_x1_0": "shufflenet_v2_x1_0",
    "mobilenet_v3_large": "mobilenet_v3_large_100", "mobilenet_v2": "mobilenet_v2_100", "resnet50": "resnet50",
}  # fmt: skip


def plain_loop(network: Any, *, precision: str) -> Peer:
    """Return a network in the plain loop of MindSpore's users, compiled. Raises ReproError for bfloat16."""
    import mindspore
    from mindspore import amp, nn

    from backends.mindspore.model import execution_mode

    if precision == "bfloat16":
        raise ReproError(
            "precision is bfloat16: MindSpore has no bfloat16 convolution on the CPU; give float16 instead"
        )
    if precision == "float16":
        network = amp.auto_mixed_precision(network, "O2", mindspore.float16)
    optimizer = nn.Momentum(network.trainable_params(), 1e-3, 0.9)
    training = nn.TrainOneStepCell(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer)

    def predict(images: Any) -> None:
        with execution_mode(mindspore.GRAPH_MODE):
            network.set_train(False)
            network(images).asnumpy()

    def step(images: Any, targets: Any) -> None:
        with execution_mode(mindspore.GRAPH_MODE):
            training.set_train(True)
            training(images, targets).asnumpy()

    return Peer(predict, step)


def zoo_networks(name: str, *, classes: int, precision: str) -> dict[str, Peer]:
    """Return the network of MindCV, compiled.

    Raises ImportError where MindCV is missing, and ReproError for bfloat16.
    """
    import mindcv

    return {"zoo": plain_loop(mindcv.create_model(name, num_classes=classes), precision=precision)}


def tensors(images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    """Return the tensors of a batch; MindSpore's labels are int32."""
    from mindspore import Tensor

    return Tensor(images), Tensor(labels.astype(np.int32))


class Batches:
    """An iterable of the batches of a mindspore.dataset pipeline, which starts anew in each iteration."""

    def __init__(self, pipeline: Any):
        self.pipeline = pipeline

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        yield from map(tuple, self.pipeline.create_tuple_iterator(num_epochs=1))


def batches(folder: Path, *, image_size: int, batch_size: int, workers: int) -> Iterable[tuple[Any, Any]]:
    """Return the batches of an ImageFolderDataset. MindSpore decodes in threads, one where workers is 0."""
    import mindspore
    from mindspore import dataset
    from mindspore.dataset import vision

    threads = max(workers, 1)
    mean, std = ([255 * value for value in values] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    steps = [vision.RandomCropDecodeResize(image_size), vision.RandomHorizontalFlip(), vision.Normalize(mean, std),
             vision.HWC2CHW()]  # fmt: skip
    pipeline = dataset.ImageFolderDataset(str(folder), shuffle=True, num_parallel_workers=threads)
    pipeline = pipeline.map(steps, "image", num_parallel_workers=threads)
    pipeline = pipeline.map(dataset.transforms.TypeCast(mindspore.int32), "label", num_parallel_workers=threads)
    return Batches(pipeline.batch(batch_size, drop_remainder=True))
