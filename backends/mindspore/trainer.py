"""One training step, compiled as a graph: twice as quick on the CPU as MindSpore's eager mode, and equal to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, amp, nn, ops

from backends.mindspore.model import draw_drops, drop_hooks, export_weights, load_weights, mode
from backends.mindspore.native_weights import NAMES
from backends.mindspore.optimizers import Flat, Optimizer, create_optimizer, zeros
from backends.mindspore.processes import Mean, all_reduce_sum
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface import TrainSettings

ROW = 4096  # numbers that are summed up one after the other


class Update(nn.Cell):
    """Clipping, the optimizer and the averages, on all weights as one vector."""

    def __init__(self, weights: Flat, optimizer: Optimizer, settings: TrainSettings, average: Parameter | None):
        super().__init__(auto_prefix=False)
        self.weights, self.optimizer, self.ema = weights, optimizer, average
        self.clip_norm = settings.clip_norm
        self.mean = Mean(settings.world_size) if settings.world_size > 1 else None
        self.settings, self.share = settings, zeros("share")  # of a weight in its average

    def prepare(self, lr: float, steps: int) -> None:
        """Sets what the next step depends on beside arrays. steps: how many were made before it."""
        self.optimizer.prepare(lr, steps)
        if self.ema is not None:
            self.share.set_data(Tensor(self.settings.ema_weight(steps), mindspore.float32))

    def construct(self, loss: Tensor, gradients: tuple[Tensor, ...]) -> Tensor:
        """The loss, which hangs on the updates; and these on all gradients, so that no weight is written before every
        layer has read it."""
        gradient = self.weights(gradients)
        if self.mean is not None:
            both = self.mean(ops.cat((gradient, loss.reshape(1))))
            gradient, loss = both[:-1], both[-1]
        if self.clip_norm is not None:  # ops.clip_by_global_norm has another formula: no 1e-6
            norm = ops.sqrt(total(gradient * gradient))
            gradient = gradient * ops.minimum(self.clip_norm / (norm + 1e-6), 1.0)
        weight = self.optimizer(self.weights(ops.depend(self.weights.parameters, gradient)), gradient)
        if self.ema is not None:
            loss = ops.depend(loss, ops.assign(self.ema, self.ema + self.share * (weight - self.ema)))
        return ops.depend(loss, self.weights.write(weight))


class Step(nn.Cell):
    """Forward, loss, gradients and update."""

    def __init__(self, model: nn.Cell, loss: nn.Cell, update: Update, loss_scale: float):
        super().__init__(auto_prefix=False)  # the model's parameters keep their names
        self.model, self.loss, self.update, self.loss_scale = model, loss, update, loss_scale
        self.gradients = ops.value_and_grad(self.compute, None, update.weights.parameters, has_aux=True)

    def compute(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(images)
        return self.loss(logits, targets) * self.loss_scale, logits

    def construct(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        (loss, logits), gradients = self.gradients(images, targets)
        if self.loss_scale != 1:
            loss, gradients = loss / self.loss_scale, [gradient / self.loss_scale for gradient in gradients]
        return self.update(loss, gradients), logits


def total(vector: Tensor) -> Tensor:
    """The sum. MindSpore's own of more than 200,000 numbers splits them among its threads in other ways from call to
    call, to find the quickest, and the last bits change with that."""
    whole = vector.shape[0] // ROW * ROW
    if not whole:
        return vector.sum()
    rows = vector[:whole].reshape(-1, ROW).sum(1).sum()
    return rows + vector[whole:].sum() if whole < vector.shape[0] else rows  # of nothing it is not 0


def typed(targets: np.ndarray) -> Tensor:
    """Labels are 32 bits wide in MindSpore."""
    return Tensor(targets.astype(np.int32) if targets.ndim == 1 else targets)


class Trainer:
    """See repro.interface.Trainer."""

    def __init__(self, model: Any, settings: TrainSettings):
        if settings.precision == "bfloat16":
            raise ReproError("precision is bfloat16: MindSpore has no such convolution on the CPU; give float16")
        self.model = self.network = model
        if settings.precision == "float16":
            self.network = amp.auto_mixed_precision(model, "O2", mindspore.float16)  # normalisation stays float32
        self.settings = settings
        canonical = {NAMES.name(name, model.spec.weights[name]): name for name in settings.trained_shapes(model.spec)}
        trained = [parameter for parameter in model.trainable_params() if parameter.name in canonical]
        self.flat = Flat(trained, settings.compiled)
        self.names = [canonical[parameter.name] for parameter in self.flat.parameters]
        size = sum(self.flat.sizes)
        self.optimizer = create_optimizer([parameter.shape for parameter in self.flat.parameters], settings)
        self.ema = None if settings.ema_decay is None else zeros("ema", size)
        self._reset_averages()
        self.cross_entropy = nn.CrossEntropyLoss(label_smoothing=float(settings.label_smoothing))
        self.whole_update = Update(self.flat, self.optimizer, settings, self.ema)
        self.train_step = Step(self.network, self.cross_entropy, self.whole_update, settings.loss_scale)
        self.steps = 0

    def step(self, images: np.ndarray, targets: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        self.whole_update.prepare(lr, self.steps)
        if self.settings.compiled:
            draw_drops(self.model, images)
            context = mode(mindspore.GRAPH_MODE)
        else:
            context = mode(mindspore.PYNATIVE_MODE, drop_hooks(self.model))
        with context:
            self.train_step.set_train(True)
            loss, logits = self.train_step(Tensor(images), typed(targets))
            self.steps += 1
            if self.settings.world_size > 1:
                self._share_statistics()
            return float(loss.asnumpy()), logits.asnumpy()

    def _share_statistics(self) -> None:
        """Running statistics become the means over all processes."""
        own = self.model.parameters_dict()
        found = [own[name] for name in NAMES.native_statistics(self.model.spec.weights)]
        if found:
            whole = all_reduce_sum(np.concatenate([parameter.asnumpy() for parameter in found]))
            pieces = np.split(whole / self.settings.world_size, np.cumsum([parameter.size for parameter in found])[:-1])
            for parameter, piece in zip(found, pieces, strict=True):
                parameter.set_data(Tensor(piece))

    def loss(self, logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        with mode(mindspore.PYNATIVE_MODE):
            loss, gradient = ops.value_and_grad(self.cross_entropy)(Tensor(logits), typed(targets))
        return float(loss.asnumpy()), gradient.asnumpy()

    def update(self, gradients: Mapping[str, np.ndarray], lr: float) -> None:
        self.whole_update.prepare(lr, self.steps)
        with mode(mindspore.GRAPH_MODE if self.settings.compiled else mindspore.PYNATIVE_MODE):
            self.whole_update(Tensor(0.0), tuple(Tensor(gradients[name]) for name in self.names))
        self.steps += 1

    def predict(self, images: np.ndarray) -> np.ndarray:
        with mode(mindspore.GRAPH_MODE if self.settings.compiled else mindspore.PYNATIVE_MODE):
            self.network.set_train(False)
            return self.network(Tensor(images)).asnumpy()

    def weights(self) -> Arrays:
        return export_weights(self.model)

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        load_weights(self.model, arrays)
        self._reset_averages()

    def _reset_averages(self) -> None:
        if self.ema is not None:
            weights = [parameter.asnumpy().ravel() for parameter in self.flat.parameters]
            self.ema.set_data(Tensor(np.concatenate(weights)))

    def ema_weights(self) -> Arrays:
        return {} if self.ema is None else self.weights() | self._parts(self.ema)

    def _vectors(self) -> dict[str, Parameter]:
        return self.optimizer.slots | ({} if self.ema is None else {"ema": self.ema})

    def _parts(self, vector: Parameter) -> Arrays:
        """Copies under the names of the weights, and in their shapes."""
        pieces = np.split(vector.asnumpy().copy(), np.cumsum(self.flat.sizes)[:-1])
        shapes = [parameter.shape for parameter in self.flat.parameters]
        return {name: piece.reshape(shape) for name, piece, shape in zip(self.names, pieces, shapes, strict=True)}

    def state(self) -> Arrays:
        arrays = {
            f"{slot}/{name}": array
            for slot, vector in self._vectors().items()
            for name, array in self._parts(vector).items()
        }
        return arrays | ({"steps": np.array(self.steps)} if self.settings.counts_steps else {})

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        arrays = self.settings.complete_state(arrays, self.model.spec)
        self.steps = int(arrays.get("steps", 0))
        for slot, vector in self._vectors().items():
            parts = [arrays[key].ravel() for name in self.names if (key := f"{slot}/{name}") in arrays]
            if parts:
                vector.set_data(Tensor(np.concatenate(parts, dtype=np.float32)))


def create_trainer(model: Any, settings: TrainSettings) -> Trainer:
    return Trainer(model, settings)
