"""Checkpoints as people have them.

Each file holds torchvision's MobileNetV2 of width 0.35 with five classes and random weights.
"""

from __future__ import annotations

import argparse
import json
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.utils.prune
import torchvision
from torch import nn
from torch.optim.swa_utils import AveragedModel

from repro.arrays import Arrays
from repro.interface.discovery import native_weights
from repro.weights import safetensors_file
from repro.weights.porting import read_checkpoint, write_checkpoint

CLASSES = 5

Save = Callable[[Any, Path], object]


class Kind(NamedTuple):
    """A kind of checkpoint.

    title: its name in the table; file: the name of the file or folder; save: a function that takes the network and
    writes that file; flags: further arguments of repro.port.
    """

    title: str
    file: str
    save: Save
    flags: tuple[str, ...] = ()


def arrays_of(net: nn.Module) -> Arrays:
    return {name: tensor.numpy() for name, tensor in net.state_dict().items() if tensor.ndim}


def trained(net: nn.Module, make: Callable[[Any], torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """Return an optimizer of the network's parameters after a step with gradients of 0."""
    optimizer = make(net.parameters())
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return optimizer


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.1, momentum=0.9)


def decayed_in_groups(net: nn.Module) -> torch.optim.Optimizer:
    vectors = [p for p in net.parameters() if p.ndim < 2]
    matrices = [p for p in net.parameters() if p.ndim > 1]
    groups = [{"params": vectors, "weight_decay": 0.0}, {"params": matrices}]
    return trained(net, lambda _: torch.optim.AdamW(groups, 0.0))


def legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def timm_script(net: nn.Module, path: Path) -> None:
    optimizer = trained(net, sgd)
    torch.save(
        {
            "epoch": 3,
            "arch": "net",
            "state_dict": net.state_dict(),
            "state_dict_ema": net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "args": argparse.Namespace(lr=0.1, output=PurePosixPath("out")),
            "metric": np.float64(71.5),
        },
        path,
    )


def torchvision_script(net: nn.Module, path: Path) -> None:
    optimizer = trained(net, sgd)
    averaged = AveragedModel(net)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    torch.save(
        {
            "model": net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "lr_scheduler": scheduler.state_dict(),
            "epoch": 3,
            "args": argparse.Namespace(lr=0.1),
            "model_ema": averaged.state_dict(),
        },
        path,
    )


def lightning(net: nn.Module, path: Path) -> None:
    state = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
    callbacks = {"ModelCheckpoint{'monitor': 'acc'}": {"best_model_score": torch.tensor(0.7), "dirpath": "out"}}
    torch.save(
        {
            "epoch": 3,
            "global_step": 300,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": state | {"criterion.weight": torch.ones(CLASSES)},
            "callbacks": callbacks,
            "optimizer_states": [trained(net, sgd).state_dict()],
            "hyper_parameters": {"lr": 0.1},
        },
        path,
    )


def renamed(prefix: str, net: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in net.state_dict().items()}


def two_networks(net: nn.Module, path: Path) -> None:
    other = {f"student.{name}": torch.zeros_like(tensor) for name, tensor in net.state_dict().items()}
    torch.save(other | renamed("teacher.", net), path)


def parallel_features(net: Any, path: Path) -> None:
    net.features = nn.DataParallel(net.features)
    torch.save(net.state_dict(), path)


def pruned(net: Any, path: Path) -> None:
    mask = torch.ones_like(net.classifier[1].weight)  # nothing is pruned, so that the weights stay those of the network
    torch.nn.utils.prune.custom_from_mask(net.classifier[1], "weight", mask)
    torch.save(net.state_dict(), path)


def normalised(net: Any, path: Path) -> None:
    nn.utils.parametrizations.weight_norm(net.classifier[1])
    torch.save(net.state_dict(), path)


def ultralytics(net: nn.Module, path: Path) -> None:
    torch.save({"epoch": -1, "best_fitness": 0.7, "model": net, "ema": net, "optimizer": None, "date": "2026"}, path)


def hub_shards(net: nn.Module, folder: Path) -> None:
    folder.mkdir()
    arrays, weight_map = arrays_of(net), dict[str, str]()
    for number, names in enumerate((list(arrays)[::2], list(arrays)[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        safetensors_file.save(folder / file, {name: arrays[name] for name in names}, {"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def one_shard(net: nn.Module, path: Path) -> None:
    hub_shards(net, path.parent / "hub")
    (path.parent / "hub" / path.name).rename(path)


def hub_folder(net: nn.Module, folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text('{"architecture": "shufflenet"}')
    safetensors_file.save(folder / "model.safetensors", arrays_of(net), {"format": "pt"})


def accelerate(net: nn.Module, folder: Path) -> None:
    hub_folder(net, folder)
    torch.save(trained(net, sgd).state_dict(), folder / "optimizer.bin")
    (folder / "random_states_0.pkl").write_bytes(pickle.dumps({"step": 3}))


def distributed_folder(net: nn.Module, folder: Path) -> None:
    import torch.distributed.checkpoint

    torch.distributed.checkpoint.save(net.state_dict(), checkpoint_id=folder)


def cut_short(net: nn.Module, path: Path) -> None:
    torch.save(net.state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


class Payload:
    """An object whose unpickling would end the process."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return sys.exit, ("a function in a pickle was called",)


def published_in(publisher: str) -> Save:
    """Return a function that writes the network in the layout of another publisher."""

    def save(net: nn.Module, path: Path) -> None:
        torch.save(net.state_dict(), path.with_suffix(".tmp"))
        write_checkpoint(path, read_checkpoint(path.with_suffix(".tmp"), log=str), publisher)
        path.with_suffix(".tmp").unlink()

    return save


def mindspore_loss_wrapper(net: nn.Module, path: Path) -> None:
    published_in("mindspore")(net, path)
    files = native_weights("mindspore")
    files.write(path, {f"_backbone.{name}": array for name, array in files.read(path).items()})


def mindspore_sgd(net: nn.Module, path: Path) -> None:
    published_in("mindspore")(net, path)
    files = native_weights("mindspore")
    arrays = files.read(path)
    trained_arrays = {name: array for name, array in arrays.items() if "moving_" not in name}
    state = {f"{slot}.{name}": array for slot in ("accum", "stat") for name, array in trained_arrays.items()}
    files.write(path, arrays | state | {"learning_rate": np.array(0.1, "float32")})


KINDS = [
    Kind("a state dict", "net.pth", lambda net, path: torch.save(net.state_dict(), path)),
    Kind("a state dict in the format before PyTorch 1.6", "net.pth", lambda net, path: legacy(net.state_dict(), path)),
    Kind("a state dict in half precision", "net.pth", lambda net, path: torch.save(net.half().state_dict(), path)),
    Kind("a state dict in bfloat16", "net.pth", lambda net, path: torch.save(net.bfloat16().state_dict(), path)),
    Kind("a whole module", "net.pt", torch.save),
    Kind("a whole module in the old format", "net.pt", legacy),
    Kind("TorchScript, scripted", "net.pt", lambda net, path: torch.jit.script(net).save(path)),
    Kind("TorchScript, traced", "net.pt",
         lambda net, path: torch.jit.trace(net.eval(), torch.ones(1, 3, 64, 64)).save(path)),
    Kind("a network trained with DataParallel", "net.pth", lambda net, path: torch.save(renamed("module.", net), path)),
    Kind("a network trained with DataParallel and torch.compile", "net.pth",
         lambda net, path: torch.save(renamed("_orig_mod.module.", net), path)),
    Kind("an AveragedModel", "swa.pth", lambda net, path: torch.save(AveragedModel(net).state_dict(), path)),
    Kind("weights with a metric", "best.pth",
         lambda net, path: torch.save({"state_dict": net.state_dict(), "best_acc1": torch.tensor(40.0)}, path)),
    Kind("timm's training script", "checkpoint-3.pth.tar", timm_script),
    Kind("torchvision's training script", "model_3.pth", torchvision_script),
    Kind("Lightning", "epoch=3.ckpt", lightning),
    Kind("MMPretrain", "epoch_3.pth", lambda net, path: torch.save(
        {"meta": {"epoch": 3}, "state_dict": net.state_dict(), "message_hub": {"log": [1, 2]}}, path)),
    Kind("fastai", "stage-1.pth",
         lambda net, path: torch.save({"model": net.state_dict(), "opt": trained(net, sgd).state_dict()}, path)),
    Kind("fastai: an exported Learner", "export.pkl",
         lambda net, path: torch.save(argparse.Namespace(model=net, opt=trained(net, sgd)), path)),
    Kind("PyTorch's tutorial", "model.tar", lambda net, path: torch.save(
        {"epoch": 3, "model_state_dict": net.state_dict(), "loss": torch.tensor(0.4),
         "optimizer_state_dict": trained(net, sgd).state_dict()}, path)),
    Kind("a tuple of a state dict and other things", "net.pth",
         lambda net, path: torch.save((net.state_dict(), argparse.Namespace(lr=0.1)), path)),
    Kind("a method, whose call was forgotten", "net.pth", lambda net, path: torch.save(net.state_dict, path)),
    Kind("a whole state dict in half precision", "net.pth",
         lambda net, path: torch.save({name: tensor.half() for name, tensor in net.state_dict().items()}, path)),
    Kind("DeepSpeed", "mp_rank_00_model_states.pt",
         lambda net, path: torch.save({"module": net.state_dict(), "global_steps": 300, "ds_config": {}}, path)),
    Kind("Ultralytics: whole modules", "last.pt", ultralytics),
    Kind("AdamW with groups of parameters", "last.pth", lambda net, path: torch.save(
        {"model": net.state_dict(), "optimizer": decayed_in_groups(net).state_dict()}, path)),
    Kind("a network whose part is in DataParallel", "net.pth", parallel_features),
    Kind("a pruned network", "net.pth", pruned),
    Kind("weight_norm", "net.pth", normalised),
    Kind("a sparse tensor", "net.pth", lambda net, path: torch.save(
        net.state_dict() | {"classifier.1.weight": net.classifier[1].weight.detach().to_sparse()}, path)),
    Kind("a network with a quantised layer", "net.pth", lambda net, path: torch.save(
        torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8).state_dict(), path)),
    Kind("two networks in one file", "distilled.pth", two_networks),
    Kind("two networks in one file", "distilled.pth", two_networks, ("--prefix", "teacher.")),
    Kind("safetensors called .pth", "net.pth",
         lambda net, path: safetensors_file.save(path, arrays_of(net), {"format": "pt"})),
    Kind("a folder of Hugging Face's hub", "hub", hub_folder),
    Kind("shards with their index", "hub", hub_shards),
    Kind("one shard of two", "model-00001-of-00002.safetensors", one_shard),
    Kind("a folder of Accelerate", "checkpoint-300", accelerate),
    Kind("a folder of torch.distributed.checkpoint", "step-300", distributed_folder),
    Kind("NumPy arrays", "net.npz", lambda net, path: np.savez(path, **arrays_of(net))),
    Kind("a dictionary by pickle.dump", "net.pkl", lambda net, path: path.write_bytes(pickle.dumps(arrays_of(net)))),
    Kind("paddle.vision", "net.pdparams", published_in("paddle.vision")),
    Kind("MindCV", "net.ckpt", published_in("mindcv")),
    Kind("Keras", "net.h5", published_in("keras")),
    Kind("MindSpore, inside a cell with a loss", "net.ckpt", mindspore_loss_wrapper),
    Kind("MindSpore, with the state of nn.SGD", "net.ckpt", mindspore_sgd),
    Kind("another number of classes", "net.pth", lambda net, path: torch.save(net.state_dict(), path),
         ("--num-classes", "3")),
    Kind("grey images", "net.pth", lambda net, path: torch.save(net.state_dict(), path), ("--in-channels", "1")),
    Kind("another variant named by mistake", "net.pth", lambda net, path: torch.save(net.state_dict(), path),
         ("--model", "mobilenet_v2_x0_5")),
    Kind("a weight is missing", "net.pth",
         lambda net, path: torch.save(dict(list(net.state_dict().items())[1:]), path),
         ("--model", "mobilenet_v2_x0_35")),
    Kind("cut short", "net.pth", cut_short),
    Kind("an object that calls a function", "net.pth",
         lambda net, path: torch.save(net.state_dict() | {"x": Payload()}, path)),
    Kind("a web page", "net.pth", lambda _, path: path.write_text("<!DOCTYPE html><html></html>")),
    Kind("a git-LFS pointer", "net.pth",
         lambda _, path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n")),
    Kind("an empty file", "net.pth", lambda _, path: path.touch()),
    Kind("ONNX", "net.onnx", lambda _, path: path.write_bytes(b"\x08\x08\x12\x07pytorch" + struct.pack("<f", 1) * 9)),
]  # fmt: skip


def network() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=CLASSES)
