"""Programs of parity_tests/published/test_source.py and test_photographs.py."""

from __future__ import annotations

from pathlib import Path


def probabilities(ported: str, published: str, image_path: str) -> list[list[float]]:
    """Return the probabilities of an image by a ported file, and by torchvision with its own file and preparation."""
    from PIL import Image

    from repro.evaluation.classifier import read_classifier
    from repro.evaluation.prediction import predict_images

    image = Image.open(image_path)
    (ours,) = predict_images(read_classifier(Path(ported)), "torch", [image])
    (theirs,) = torchvision_probabilities(published, [image_path])
    return [ours.tolist(), theirs]


def predict(arguments: list[str]) -> None:
    """Run the command repro.predict."""
    from repro.predict import main

    assert main(arguments) == 0


def torchvision_probabilities(published: str, image_paths: list[str]) -> list[list[float]]:
    """Return the probabilities of images by torchvision with its own file and preparation."""
    import torch
    import torchvision
    from PIL import Image

    model = torchvision.models.mobilenet_v2()
    model.load_state_dict(torch.load(published, weights_only=True))
    model.eval()
    transform = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    with torch.no_grad():
        images = torch.stack([transform(Image.open(path).convert("RGB")) for path in image_paths])
        return model(images).double().softmax(1).tolist()
