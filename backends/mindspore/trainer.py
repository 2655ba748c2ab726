"""The training step: forward pass, loss, gradients, and the update of optimizers.py.

It is compiled as a graph, which on the CPU is twice as fast as eager mode, with bit-identical results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor, amp, nn, ops

from backends.mindspore.dropout import draw_dropout_masks, dropout_hooks
from backends.mindspore.inference import Evaluation
from backends.mindspore.model import execution_mode, export_weights, load_weights
from backends.mindspore.native_weights import NAMES
from backends.mindspore.optimizers import FlatWeights, Update, create_optimizer, filled, updates_each_weight, zeros
from backends.mindspore.processes import all_reduce_sum, ordered_sum
from backends.mindspore.sync_norm import synchronise_norms
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.interface.contract import StepResult
from repro.interface.loss_scale import LossScale
from repro.interface.parts import split_batch, tree_sum


class Gradients(nn.Cell):
    """Forward pass, loss, and the gradients of all weights, as one vector or in_pieces, one array for each."""

    def __init__(self, model: nn.Cell, loss: nn.Cell, weights: FlatWeights, *, scales_loss: bool, in_pieces: bool):
        super().__init__(auto_prefix=False)  # the model's parameters keep their names
        self.model, self.loss, self.weights, self.in_pieces = model, loss, weights, in_pieces
        self.loss_scale: Any = filled("loss_scale", 1.0) if scales_loss else None
        self.gradients = ops.value_and_grad(self.compute, None, weights.parameters, has_aux=True)

    def compute(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scaled loss, the loss and the logits."""
        logits = self.model(images)
        loss = self.loss(logits, targets)
        return loss if self.loss_scale is None else loss * self.loss_scale, loss, logits

    def construct(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Any]:
        (_, loss, logits), gradients = self.gradients(images, targets)
        if self.in_pieces:
            return loss, logits, gradients
        gradient = self.weights(gradients)
        return loss, logits, gradient if self.loss_scale is None else gradient / self.loss_scale


class Step(nn.Cell):
    """Forward pass, loss, gradients and update."""

    def __init__(self, gradients: Gradients, update: Update):
        super().__init__(auto_prefix=False)
        self.gradients, self.update = gradients, update

    def construct(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        loss, logits, gradient = self.gradients(images, targets)
        return self.update(loss, gradient), logits


class CrossEntropy(nn.Cell):
    """The mean cross-entropy of logits (N, K) and labels (N,) or soft targets (N, K).

    nn.CrossEntropyLoss returned one of two neighbouring numbers for the same four losses, from call to call, so that a
    resumed run did not report what a run without a break reports. ops.log_softmax is off by 2e-6, and ops.exp of the
    same vector varies with the number of threads, which MindSpore changes from call to call.
    """

    def __init__(self, label_smoothing: float) -> None:
        super().__init__(auto_prefix=False)
        self.label_smoothing = label_smoothing
        self.softmax_cross_entropy = ops.SoftmaxCrossEntropyWithLogits()

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the batch, a scalar."""
        classes = logits.shape[1]
        if targets.ndim == 1:
            targets = ops.one_hot(targets, classes, Tensor(1.0, logits.dtype), Tensor(0.0, logits.dtype))
        if self.label_smoothing:
            targets = (1 - self.label_smoothing) * targets + self.label_smoothing / classes
        total = targets.sum(1, keepdims=True)  # the gradient of the next operation assumes targets that sum to 1
        losses, _ = self.softmax_cross_entropy(logits, targets / total)
        return (total.reshape(-1) * losses).mean()


def target_tensor(targets: np.ndarray) -> Tensor:
    """Return labels (N,) as int32, which MindSpore needs, or soft targets (N, K) as they are."""
    return Tensor(targets.astype(np.int32) if targets.ndim == 1 else targets)


class Trainer:
    """A MindSpore model with its optimizer; the methods are those of repro.interface.Trainer."""

    def __init__(self, model: Any, settings: TrainSettings):
        if settings.precision == "bfloat16":
            raise ReproError(
                "precision is bfloat16: MindSpore has no bfloat16 convolution on the CPU; give float16 instead"
            )
        self.model = self.network = model
        frozen = settings.frozen_norms(model.spec)
        self.frozen_norms = [cell for name, cell in model.cells_and_names() if name in frozen]
        if settings.synchronises_norms:
            synchronise_norms(model, settings.world_size)
        tensors = model.parameters_dict()
        self.statistics = [tensors[name] for name in NAMES.native_statistics(model.spec.weights, frozen)]
        if settings.precision == "float16":
            self.network = amp.auto_mixed_precision(model, "O2", mindspore.float16)  # normalisation stays float32
        self.is_compiled = settings.compiled is not False  # eager mode pays off for less than tens of steps
        is_fused = settings.fused_evaluation is not False and settings.precision == "float32"
        self.evaluation = Evaluation(self.network, compiled=self.is_compiled, is_fused=is_fused)
        self.settings = settings
        canonical = {NAMES.name(name, model.spec.weights[name]): name for name in settings.trained_shapes(model.spec)}
        trained = [parameter for parameter in model.trainable_params() if parameter.name in canonical]
        self.flat = FlatWeights(trained, compiled=self.is_compiled)
        self.names = [canonical[parameter.name] for parameter in self.flat.parameters]
        self.optimizer = create_optimizer(self.flat, settings)
        self.ema = None if settings.ema_decay is None else zeros("ema", sum(self.flat.sizes))
        self._reset_ema()
        self.cross_entropy = CrossEntropy(float(settings.label_smoothing))
        in_pieces = updates_each_weight(settings, compiled=self.is_compiled)
        self.update_cell = Update(self.optimizer, settings, self.ema)
        self.step_update = Update(self.optimizer, settings, self.ema, in_pieces=True) if in_pieces else self.update_cell
        self.loss_scale = LossScale() if settings.scales_loss else None
        self.gradients_cell = Gradients(
            self.network, self.cross_entropy, self.flat, scales_loss=settings.scales_loss, in_pieces=in_pieces
        )
        self.step_cell = Step(self.gradients_cell, self.step_update)
        self.steps = 0

    def _reset_ema(self) -> None:
        if self.ema is not None:
            weights = [parameter.asnumpy().ravel() for parameter in self.flat.parameters]
            self.ema.set_data(Tensor(np.concatenate(weights)))

    @property
    def _mode(self) -> int:
        return mindspore.GRAPH_MODE if self.is_compiled else mindspore.PYNATIVE_MODE

    def step(self, images: np.ndarray, targets: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        """Make one training step, and return the mean cross-entropy and the logits before the update."""
        return self.start_step(images, targets, lr)()

    def start_step(self, images: np.ndarray, targets: np.ndarray, lr: float) -> StepResult:
        """Start a training step. The result waits for the mean cross-entropy and the logits before the update."""
        if self.settings.computes_gradients_first:
            result = self._step_in_two(images, targets, lr)
            return lambda: result
        self.step_update.prepare(lr, self.steps)
        loss, logits = self._run(self.step_cell, images, targets)
        self.steps += 1
        if self.settings.world_size > 1:
            self._all_reduce_statistics()
        return lambda: (float(loss), logits)

    def _run(self, cell: nn.Cell, images: np.ndarray, targets: np.ndarray) -> list[np.ndarray]:
        """Run a step or its first half in training mode."""
        self.evaluation.forget_weights()
        if self.is_compiled:
            draw_dropout_masks(self.model, images)
        hooks = [] if self.is_compiled else dropout_hooks(self.model)
        with execution_mode(self._mode, hooks):
            cell.set_train(True)
            for norm in self.frozen_norms:
                norm.set_train(False)
            return [result.asnumpy() for result in cell(Tensor(images), target_tensor(targets))]

    def _step_in_two(self, images: np.ndarray, targets: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        """Average gradients and running statistics over the parts of all ranks, and then update the weights."""
        if self.loss_scale is not None:
            self.gradients_cell.loss_scale.set_data(Tensor(self.loss_scale.scale, mindspore.float32))
        before = [statistic.asnumpy().copy() for statistic in self.statistics]
        logits = []

        def results() -> Iterator[np.ndarray]:
            """Yield the loss, gradients and running statistics of each part as one vector, for a single message."""
            for part in split_batch(images, targets, self.settings.parts):
                for statistic, value in zip(self.statistics, before, strict=True):
                    statistic.set_data(Tensor(value))
                loss, part_logits, gradient = self._run(self.gradients_cell, *part)
                logits.append(part_logits)
                yield np.concatenate([loss.reshape(1), gradient, *(value.asnumpy() for value in self.statistics)])

        total = tree_sum(results())
        if self.settings.deterministic_shards is not None:
            total = ordered_sum(total, self.settings.world_size)
        elif self.settings.world_size > 1:
            total = all_reduce_sum(total)
        mean = total / np.float32(self.settings.world_size * self.settings.parts)
        sizes = [sum(self.flat.sizes), *(statistic.size for statistic in self.statistics)]
        gradient, *values = np.split(mean[1:], np.cumsum(sizes)[:-1])
        for statistic, value in zip(self.statistics, values, strict=True):
            statistic.set_data(Tensor(value))
        self._update(gradient, lr)
        return float(mean[0]), np.concatenate(logits)

    def _all_reduce_statistics(self) -> None:
        """Replace the running statistics by their means over all ranks."""
        if self.statistics:
            sums = all_reduce_sum(np.concatenate([parameter.asnumpy() for parameter in self.statistics]))
            ends = np.cumsum([parameter.size for parameter in self.statistics])
            means = np.split(sums / self.settings.world_size, ends[:-1])
            for parameter, mean in zip(self.statistics, means, strict=True):
                parameter.set_data(Tensor(mean))

    def loss(self, logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean cross-entropy, and its gradient with respect to the logits."""
        with execution_mode(mindspore.PYNATIVE_MODE):
            loss, gradient = ops.value_and_grad(self.cross_entropy)(Tensor(logits), target_tensor(targets))
        return float(loss.asnumpy()), gradient.asnumpy()

    def update(self, gradients: Mapping[str, np.ndarray], lr: float) -> None:
        """Clip the given gradients, by canonical name, and update weights and EMA."""
        self._update(np.concatenate([gradients[name].ravel() for name in self.names]), lr)

    def _update(self, gradient: np.ndarray, lr: float) -> None:
        """Clip the gradients, one vector, and update weights and EMA."""
        self.evaluation.forget_weights()
        # running statistics, which the forward pass has updated, stay updated in a skipped step, as with GradScaler
        if self.loss_scale is not None and not self.loss_scale.update(is_finite=bool(np.isfinite(gradient).all())):
            return
        self.update_cell.prepare(lr, self.steps)
        with execution_mode(self._mode):
            self.update_cell(Tensor(0.0, mindspore.float32), Tensor(gradient))
        self.steps += 1

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return logits in evaluation mode."""
        return self.evaluation(images)

    def predict_modules(self, images: np.ndarray) -> Arrays:
        """Return what every cell computes in evaluation mode; nothing of a compiled network, which hides it."""
        return self.evaluation.modules(images)

    def weights(self) -> Arrays:
        """Return copies of the canonical weights."""
        return export_weights(self.model)

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Load canonical weights. The EMA restarts from them."""
        load_weights(self.model, arrays)
        self.evaluation.forget_weights()
        self._reset_ema()

    def ema_weights(self) -> Arrays:
        """Return the canonical weights with the EMA in place of every trained one; {} without an EMA."""
        return {} if self.ema is None else self.weights() | self._by_name(self.ema.asnumpy().copy())

    def _by_name(self, vector: np.ndarray) -> Arrays:
        """Return the pieces of a flat vector under the names of the weights, in their shapes."""
        pieces = np.split(vector, np.cumsum(self.flat.sizes)[:-1])
        shapes = [parameter.shape for parameter in self.flat.parameters]
        return {name: piece.reshape(shape) for name, piece, shape in zip(self.names, pieces, shapes, strict=True)}

    def state(self) -> Arrays:
        """Return copies of the optimizer's slots, the EMA and the number of steps."""
        vectors = {slot: self.optimizer.slot_vector(slot) for slot in self.optimizer.slots}
        vectors |= {} if self.ema is None else {"ema": self.ema.asnumpy().copy()}
        arrays = {f"{slot}/{name}": array for slot in vectors for name, array in self._by_name(vectors[slot]).items()}
        arrays |= {"steps": np.array(self.steps)} if self.settings.counts_steps else {}
        return arrays | (self.loss_scale.state() if self.loss_scale is not None else {})

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from a state. Raises ReproError, and changes nothing, for the state of other settings."""
        arrays = self.settings.complete_state(arrays, self.model.spec)
        if self.loss_scale is not None:
            self.loss_scale.load_state(arrays)
        self.steps = int(arrays.get("steps", 0))

        def vector(slot: str) -> np.ndarray:
            return np.concatenate([arrays[f"{slot}/{name}"].ravel() for name in self.names], dtype=np.float32)

        for slot in self.optimizer.slots:
            self.optimizer.load_slot(slot, vector(slot))
        if self.ema is not None and f"ema/{self.names[0]}" in arrays:
            self.ema.set_data(Tensor(vector("ema")))


def create_trainer(model: Any, settings: TrainSettings) -> Trainer:
    """Return a trainer of the model, which it changes in place."""
    return Trainer(model, settings)
