"""PyTorch as its users call it: networks of torchvision and timm, and torchvision's image folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from repro.interface.peers import Peer

PACKAGES = ("torch", "torchvision", "timm")
ZOO = {
    "mobilenet_v3_small": "mobilenet_v3_small", "shufflenet_v2_x1_0_torchvision": "shufflenet_v2_x1_0",
    "mobilenet_v3_large": "mobilenet_v3_large", "mobilenet_v2": "mobilenet_v2", "densenet121": "densenet121",
    "efficientnet_v2_s": "efficientnet_v2_s", "resnet50": "resnet50", "rdnet_tiny": "rdnet_tiny",
}  # fmt: skip


def plain_loop(network: Any, *, precision: str) -> Peer:
    """Return a network in the plain loop of PyTorch's users, with images in the memory format of its weights."""
    import torch

    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9)
    device = torch.get_default_device()
    number_format = getattr(torch, precision)
    stem = next(parameter for parameter in network.parameters() if parameter.dim() == 4)
    memory_format = torch.contiguous_format if stem.is_contiguous() else torch.channels_last

    def logits(images: torch.Tensor) -> torch.Tensor:
        images = images.to(device, memory_format=memory_format)
        with torch.autocast(device.type, number_format, enabled=precision != "float32"):
            return network(images)

    def predict(images: torch.Tensor) -> None:
        network.eval()
        with torch.inference_mode():
            logits(images).cpu()

    def step(images: torch.Tensor, targets: torch.Tensor) -> None:
        network.train()
        loss = torch.nn.functional.cross_entropy(logits(images).float(), targets.to(device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()

    return Peer(predict, step)


def zoo_networks(name: str, *, classes: int, precision: str) -> dict[str, Peer]:
    """Return the network of torchvision, or of timm if torchvision has none, contiguous and in channels_last.

    Raises ImportError where the package is missing.
    """
    import torch
    import torchvision

    def network() -> Any:
        if hasattr(torchvision.models, name):
            return getattr(torchvision.models, name)(num_classes=classes)
        import timm

        return timm.create_model(name, num_classes=classes)

    return {
        "zoo": plain_loop(network(), precision=precision),
        "zoo, channels_last": plain_loop(network().to(memory_format=torch.channels_last), precision=precision),
    }


def tensors(images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    """Return the tensors of a batch, in the memory of the CPU."""
    import torch

    return torch.from_numpy(images), torch.from_numpy(labels)


def batches(folder: Path, *, image_size: int, batch_size: int, workers: int) -> Iterable[tuple[Any, Any]]:
    """Return a DataLoader of torchvision's ImageFolder. Raises ImportError where a package is missing."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    transform = transforms.Compose([
        transforms.RandomResizedCrop(image_size), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    return DataLoader(
        ImageFolder(str(folder), transform), batch_size, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip
