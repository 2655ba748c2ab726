"""Programs of parity_tests/published/test_source.py, test_photographs.py and test_every_command.py."""

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


def every_command(backend: str, weights: str, photos: str, folder: str) -> dict[str, object]:
    """Fine-tune the classifier on the photos, report on the run, predict, and export the published file.

    Return the exit codes of the commands, and the line that repro.export prints or its error.
    """
    from parity_tests.programs.export import export
    from repro import predict, report, run

    run_folder, image = f"{folder}/run", f"{photos}/a/0.png"
    flags = ["--model", "mobilenet_v2", "--weights", weights, "--fresh-head", "true", "--train-only", "classifier"]
    flags += ["--data", photos, "--split", "0.34", "--image-size", "32", "--batch-size", "6", "--epochs", "1"]
    exit_codes = {
        "run": run.main(["--backend", backend, *flags, "--out", run_folder]),
        "report": report.main([run_folder, "--backend", backend]),
        "predict": predict.main([weights, image, "--backend", backend]),
    }
    (line,) = export([[weights, f"{folder}/out.onnx", "--backend", backend, "--image-size", "64"]])
    return {"exit codes": exit_codes, "export": line}
