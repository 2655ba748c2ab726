"""Programs of parity_tests/weights/test_checkpoint_kinds.py."""

from __future__ import annotations

import argparse
import copy
import datetime
import functools
import pathlib
import pickle
from typing import Any

import numpy as np


def save_all(folder: str) -> None:
    """Save one model in every kind of file that torch writes, and its state dict as expected.safetensors.

    The file with attributes, of which a tensor is shared, holds tensors of its own, also in expected_odd.safetensors.
    """
    import torch
    from torch import nn

    from repro.weights import safetensors_file

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
            self.head = nn.Linear(4, 2)
            self.register_buffer("scale", torch.arange(3.0))
            self.register_buffer("scratch", torch.ones(5), persistent=False)
            self.make = functools.partial(nn.ReLU, inplace=True)
            self.tied = self.head

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.stem(images).mean((2, 3)))

    # pickle finds a class by its name in its module
    globals()["Net"] = Net
    Net.__qualname__ = "Net"
    torch.manual_seed(0)
    model = Net()
    root = pathlib.Path(folder)
    expected = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    safetensors_file.save(root / "expected.safetensors", expected)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    state = model.state_dict()
    torch.save(state, root / "state_dict.pth")
    torch.save(model, root / "module.pth")
    torch.save(model, root / "module_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(nn.DataParallel(model), root / "data_parallel.pth")
    torch.save({"model": model, "ema": model, "epoch": 3}, root / "two_modules.pth")
    timm = {
        "epoch": 3,
        "arch": "net",
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1, output=pathlib.PurePosixPath("out"), betas={0.9, 0.999}),
        "lr_scheduler": scheduler,
        "milestones": scheduler.state_dict(),
        "best_acc1": np.float64(71.5),
        "started": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        "activation": functools.partial(nn.ReLU, inplace=True),
        "dtype": torch.float32,
        "by_class": {nn.ReLU: 1, (1, 2): 2, None: 3, 0.5: 4},
    }
    torch.save(timm, root / "timm.pth")
    torch.save(timm, root / "timm_legacy.pth", _use_new_zipfile_serialization=False)
    torch.jit.script(model.eval()).save(root / "scripted.pt")
    torch.jit.trace(model, torch.ones(1, 3, 8, 8)).save(root / "traced.pt")

    parameter = nn.Parameter(torch.tensor([[1.5, -2.0]]))
    parameter.note = "of the parameter"
    tensor = torch.arange(4.0)
    tensor.note = "of the tensor"
    unsigned = torch.tensor([1, 65535], dtype=torch.uint16)
    odd = {
        "parameter": parameter,
        "tensor": tensor,
        "unsigned": unsigned,
        "numpy": np.arange(6.0, dtype=np.float32).reshape(2, 3),
    }
    torch.save(odd | {"objects": np.array(["a", None], dtype=object)}, root / "odd.pth")
    torch.save(odd, root / "odd_legacy.pth", _use_new_zipfile_serialization=False)
    plain = {name: value if isinstance(value, np.ndarray) else value.detach().numpy() for name, value in odd.items()}
    safetensors_file.save(root / "expected_odd.safetensors", plain)
    (root / "numpy5.pth").write_bytes(pickle.dumps(plain, 5))
    (root / "numpy2.pth").write_bytes(pickle.dumps(plain, 2))
    (root / "pickled.pth").write_bytes(pickle.dumps(state))
    (root / "pickled_module.pkl").write_bytes(pickle.dumps(model, 2))
    torch.save({"weight": torch.ones(2).to_sparse()}, root / "sparse.pth")
    torch.save(torch.ones(2), root / "tensor.pth")
    save_containers(root, model, optimizer)


def save_containers(root: pathlib.Path, model: Any, optimizer: Any) -> None:
    """Save the model inside lists and objects, and tensors whose values are not as they are stored."""
    import torch
    from torch import nn

    frozen = torch.jit.freeze(torch.jit.script(copy.deepcopy(model).eval()))
    frozen.save(root / "frozen.pt")
    state = model.state_dict()
    for protocol in (4, 5):
        path = root / f"legacy{protocol}.pth"
        torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    arguments = argparse.Namespace(lr=0.1)
    torch.save((state, arguments), root / "pair.pth")
    torch.save([model, arguments], root / "list.pth")
    torch.save(argparse.Namespace(model=model, opt=optimizer, path=pathlib.PurePosixPath("out")), root / "learner.pkl")
    torch.save(model.state_dict, root / "method.pth")
    model.head.weight = nn.Parameter(model.head.weight.detach().to_sparse())
    torch.save(model, root / "module_sparse.pth")
    torch.save({"weight": torch.ones(2, device="meta")}, root / "meta.pth")
    for name, tensor in {"negative": torch._neg_view(torch.ones(2)), "expanded": torch.ones(1).expand(9)}.items():
        torch.save({"weight": tensor}, root / f"{name}.pth")
        torch.save({"weight": tensor}, root / f"{name}_legacy.pth", _use_new_zipfile_serialization=False)
