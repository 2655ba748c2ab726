"""Programs of parity_tests/weights/test_other_forms.py: weights in forms other than that of a plain network."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEAD = "classifier.1.weight"


def save_torch(folder: str) -> None:
    """Save torchvision's MobileNetV2 in every form, and its plain state dict as expected.pth."""
    import torch
    from torch import nn
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
    from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

    from parity_tests.programs.ordinary_checkpoints import network

    root = Path(folder)
    state = network().state_dict()
    torch.save(state, root / "expected.pth")
    changes: dict[str, Callable[[Any], object]] = {
        "weight_norm": weight_norm,
        "spectral_norm": spectral_norm,
        "parametrized_weight_norm": parametrizations.weight_norm,
        "parametrized_spectral_norm": parametrizations.spectral_norm,
        "parametrized_bias": lambda layer: parametrize.register_parametrization(layer, "bias", nn.Identity()),
    }
    for name, change in changes.items():
        net = network()
        change(net.classifier[1])
        torch.save(net.state_dict(), root / f"{name}.pth")
    net = network()
    net.features = nn.DataParallel(net.features)
    torch.save(net.state_dict(), root / "parallel_features.pth")
    net = network()
    net.features = torch.compile(net.features)
    torch.save(net.state_dict(), root / "compiled_features.pth")
    net = network()
    net.features = checkpoint_wrapper(net.features)
    named = [*net.named_parameters(), *net.named_buffers()]
    torch.save({name: tensor.detach() for name, tensor in named}, root / "checkpointed_features.pth")
    head = state[HEAD]
    replaced = {
        "sparse": {HEAD: head.to_sparse()},
        "sparse_csr": {HEAD: head.to_sparse_csr()},
        "meta": {HEAD: torch.empty_like(head, device="meta")},
        "bytes": {HEAD: head.to(torch.int8)},
        "extra_state": {"classifier.1._extra_state": torch.ones(3)},
        "scale_of_8_bits": {"classifier.1.SCB": torch.ones(len(head))},
        "scale_of_4_bits": {"classifier.1.weight.absmax": torch.ones(len(head))},
        "scale_of_keras": {"classifier.1.kernel_scale": torch.ones(len(head))},
        "lora": {
            "classifier.1.lora_A.default.weight": torch.ones(4, head.shape[1]),
            "classifier.1.lora_B.default.weight": torch.ones(head.shape[0], 4),
        },
    }
    for name, tensors in replaced.items():
        torch.save(state | tensors, root / f"{name}.pth")
    fsdp = {name.replace("features.", "features._fsdp_wrapped_module."): tensor for name, tensor in state.items()}
    torch.save(fsdp, root / "fsdp_features.pth")
    torch.save({"model": state, "graph": replaced["sparse"]}, root / "sparse_elsewhere.pth")
    torch.save(list(state.items()), root / "pairs.pth")
    torch.save([*state.items(), (HEAD, head)], root / "repeated_pairs.pth")
    torch.save(list(state.values()), root / "nameless.pth")
    optimizer = {"state": {0: {"momentum_buffer": head}}}
    torch.save({"model": replaced["sparse"], "optimizer": optimizer}, root / "sparse_model.pth")
    save_quantised(root, state)
    save_pruned(root)


def save_quantised(root: Path, state: dict[str, Any]) -> None:
    """Save a network before quantisation-aware training, and one whose last layer is quantised."""
    import torch
    from torch.ao import quantization

    from parity_tests.programs.ordinary_checkpoints import network

    net = network()
    net.qconfig = quantization.get_default_qat_qconfig("x86")
    torch.save(quantization.prepare_qat(net).state_dict(), root / "observed.pth")
    quantised = quantization.quantize_dynamic(network(), {torch.nn.Linear}, dtype=torch.qint8)
    torch.save(quantised.state_dict(), root / "quantised.pth")
    tensor = torch.quantize_per_tensor(state[HEAD], 0.1, 0, torch.qint8)
    torch.save(state | {HEAD: tensor}, root / "quantised_tensor.pth")


def save_pruned(root: Path) -> None:
    """Save pruned networks, in float32 and float16, and what torch makes of each when the pruning is made permanent."""
    import torch
    from torch.nn.utils import prune

    from parity_tests.programs.ordinary_checkpoints import network

    for suffix in ("", "_half"):
        net = network()
        layers = [layer for layer in net.modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))]
        for layer in layers:
            prune.random_unstructured(layer, "weight", 0.5)
        if suffix:
            net.half()
        torch.save(net.state_dict(), root / f"pruned{suffix}.pth")
        torch.save(net, root / f"pruned_module{suffix}.pt")
        torch.save({"model": net.state_dict(), "model_ema": net.state_dict()}, root / f"pruned_ema{suffix}.pth")
        for layer in layers:
            prune.remove(layer, "weight")
        torch.save(net.state_dict(), root / f"expected_pruned{suffix}.pth")
    shared = {name: torch.zeros(9) for name in ("a.weight_orig", "a.weight_mask")}
    shared |= {"b.weight_orig": shared["a.weight_orig"][1:8], "b.weight_mask": torch.zeros(7)}
    torch.save(shared, root / "shared.pth")


def save_distributed(folder: str) -> None:
    """Save a state dict with a DTensor, in a group of one process."""
    import torch
    import torch.distributed as dist
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    from parity_tests.programs.ordinary_checkpoints import network

    store = dist.FileStore(str(Path(folder) / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    state = network().state_dict()
    tensor = distribute_tensor(state[HEAD], init_device_mesh("cpu", (1,)), [Shard(0)])
    torch.save(state | {HEAD: tensor}, Path(folder) / "dtensor.pth")
    dist.destroy_process_group()


def save_paddle(folder: str) -> None:
    """Save a state dict of paddle.vision plainly, and in lists; and one under weight_norm."""
    import paddle

    net = paddle.vision.models.mobilenet_v2(scale=0.35, num_classes=5)
    state = net.state_dict()
    paddle.save(state, f"{folder}/expected.pdparams")
    paddle.save([state], f"{folder}/list.pdparams")
    paddle.save((3, state), f"{folder}/tuple.pdparams")
    paddle.nn.utils.weight_norm(net.classifier[1])
    paddle.save(net.state_dict(), f"{folder}/weight_norm.pdparams")


def save_keras(folder: str) -> None:
    """Save keras.applications' MobileNetV2 with values that bfloat16 has, in float32, bfloat16 and other forms."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import ml_dtypes
    import numpy as np

    def network() -> Any:
        return keras.applications.MobileNetV2(weights=None, classes=5, input_shape=(32, 32, 3), alpha=0.35)

    root = Path(folder)
    plain = network()
    plain.set_weights([np.asarray(w).astype(ml_dtypes.bfloat16).astype(np.float32) for w in plain.get_weights()])
    plain.save(root / "expected.h5")
    keras.config.set_dtype_policy("bfloat16")
    half = network()
    half.set_weights(plain.get_weights())
    half.save(root / "bfloat16.h5")
    half.save(root / "bfloat16.keras")
    half.save_weights(root / "bfloat16.weights.h5")
    keras.config.set_dtype_policy("float32")
    plain.layers[-1].enable_lora(2)
    plain.save(root / "lora.h5")
    quantised = network()
    quantised.quantize("int8")
    quantised.save(root / "int8.h5")
    quantised.save(root / "int8.keras")
