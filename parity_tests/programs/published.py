"""Programs of parity_tests/published/test_source.py."""

from __future__ import annotations

from pathlib import Path


def probabilities(ported: str, published: str, image_path: str) -> list[list[float]]:
    """Return the probabilities of an image by a ported file, and by torchvision with its own file and preparation."""
    import torch
    import torchvision
    from PIL import Image

    from repro.evaluation.classifier import read_classifier
    from repro.evaluation.prediction import predict_images

    image = Image.open(image_path)
    (ours,) = predict_images(read_classifier(Path(ported)), "torch", [image])
    model = torchvision.models.mobilenet_v2()
    model.load_state_dict(torch.load(published, weights_only=True))
    model.eval()
    transform = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    with torch.no_grad():
        theirs = model(transform(image)[None])[0].double().softmax(0)
    return [ours.tolist(), theirs.tolist()]
