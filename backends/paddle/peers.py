"""PaddlePaddle as its users call it: networks and image folders of paddle.vision."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from repro.errors import ReproError
from repro.interface.peers import Peer

PACKAGES = ("paddlepaddle",)
ZOO = {
    "mobilenet_v3_small": "mobilenet_v3_small", "shufflenet_v2_x1_0_torchvision": "shufflenet_v2_x1_0",
    "mobilenet_v3_large": "mobilenet_v3_large", "mobilenet_v2": "mobilenet_v2", "resnet50": "resnet50",
}  # fmt: skip


def plain_loop(network: Any, *, precision: str) -> Peer:
    """Return a network in the plain loop of Paddle's users. Raises ReproError for another precision than float32."""
    import paddle

    if precision != "float32":
        raise ReproError(f"precision is {precision}: this backend of Paddle has only float32; leave precision out")
    optimizer = paddle.optimizer.Momentum(1e-3, parameters=network.parameters())

    def predict(images: Any) -> None:
        network.eval()
        with paddle.no_grad():
            network(images).numpy()

    def step(images: Any, targets: Any) -> None:
        network.train()
        loss = paddle.nn.functional.cross_entropy(network(images), targets)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        float(loss)

    return Peer(predict, step)


def zoo_networks(name: str, *, classes: int, precision: str) -> dict[str, Peer]:
    """Return the network of paddle.vision. Raises ReproError for another precision than float32."""
    import paddle

    return {"zoo": plain_loop(getattr(paddle.vision.models, name)(num_classes=classes), precision=precision)}


def tensors(images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    """Return the tensors of a batch."""
    import paddle

    return paddle.to_tensor(images), paddle.to_tensor(labels)


def batches(folder: Path, *, image_size: int, batch_size: int, workers: int) -> Iterable[tuple[Any, Any]]:
    """Return a DataLoader of paddle.vision's DatasetFolder."""
    import paddle
    from paddle.vision import transforms

    transform = transforms.Compose([
        transforms.RandomResizedCrop(image_size), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    return paddle.io.DataLoader(
        paddle.vision.datasets.DatasetFolder(str(folder), transform=transform), batch_size=batch_size, shuffle=True,
        drop_last=True, num_workers=workers, persistent_workers=workers > 0,
    )  # fmt: skip
