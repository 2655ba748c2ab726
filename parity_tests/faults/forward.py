"""Faults of what happens between operators, and of what training mode alone does. See parity_tests.faults."""

from __future__ import annotations

from parity_tests.faults.fault import Fault
from parity_tests.faults.operators import (
    ASYMM,
    DENSE,
    EFFICIENT,
    MOBILE,
    MOBILE2,
    RD,
    RES,
    RES2,
    SHUFFLE1,
    SHUFFLE2,
    SHUFFLE2_TV,
)  # fmt: skip

SCALED = "resnet110_cifar_scaled_shortcut"
PREACTIVATED = "resnet110_cifar_full_preact"

CHANNELS = (
    Fault("copies on one side", ASYMM, "stages.1.1", 1,
          "compute(lambda x: x + at.project(at.depthwise(torch.cat([at.expand(x), x, x], 1))))",
          "input of stages.1.1.depthwise"),
    Fault("branch before shortcut in a concatenation", SHUFFLE1, "stages.1.0", 1,
          "compute(lambda x: torch.cat([F.relu(at.expand(at.shuffle(at.depthwise(at.reduce(x))))), at.pool(x)], 1))"),
    Fault("new channels before the old ones", DENSE, "stages.0", 1,
          "def run(x):\n"
          "    x = at.transition(x)\n"
          "    for block in at.blocks:\n"
          "        x = torch.cat([block(x), x], 1)\n"
          "    return x\n"
          "compute(run)",
          "input of stages.0.blocks.1"),
    Fault("halves exchanged", SHUFFLE2, "stages.0.1", 1,
          "def run(x):\n    b, a = at.before(x).chunk(2, 1)\n    return torch.cat([a, at.branch(b)], 1)\ncompute(run)",
          "input of stages.0.1.shortcut | input of stages.0.1.branch"),
    Fault("even channels for the first half", SHUFFLE2_TV, "stages.1.1", 1,
          "compute(lambda x: at.after(torch.cat([at.shortcut(at.before(x)[:, ::2]), at.branch(x[:, 1::2])], 1)))",
          "input of stages.1.1.shortcut"),
    Fault("shuffled by the number of channels", SHUFFLE1, "stages.0.2.shuffle", 1, "at.groups = 3"),
    Fault("shuffled into halves of another order", SHUFFLE2_TV, "stages.2.1.after", 1, "at.groups = 96"),
    Fault("shuffle forgotten", SHUFFLE1, "stages.1.2.shuffle", 1, "become(nn.Identity())"),
    Fault("shuffle forgotten at the start of a unit", SHUFFLE2, "stages.1.2.before", 1, "become(nn.Identity())"),
    Fault("shuffled before the depthwise convolution", SHUFFLE1, "stages.2.1", 1,
          "compute(lambda x: F.relu(x + at.expand(at.depthwise(at.shuffle(at.reduce(x))))))",
          "input of stages.2.1.shuffle | input of stages.2.1.depthwise"),
)  # fmt: skip

SHORTCUTS = (
    Fault("shortcut dropped", ASYMM, "stages.1.1", 1, "at.block = replace(at.block, stride=2)"),
    Fault("shortcut where there is none", EFFICIENT, "stages.0.0", 1, "output(lambda y: 2 * y)"),
    Fault("shortcut twice", MOBILE2, "stages.1.1", 1,
          "compute(lambda x: 2 * x + at.project(at.depthwise(at.expand(x))))"),
    Fault("shortcut subtracted", MOBILE, "stages.2.4", 1,
          "compute(lambda x: at.project(at.se(at.depthwise(at.expand(x)))) - x)"),
    Fault("shortcut from behind the activation", RES2, "stages.0.1", 1,
          "compute(lambda x: F.relu(at.norm(x)) + at.restore(at.spatial(at.reduce(F.relu(at.norm(x))))))",
          "stages.0.1 | input of stages.0.1.shortcut"),
    Fault("shortcut from before the activation", RES2, "stages.1.0.shortcut", 1,
          "keep = []\nmodel.stages[1][0].register_forward_pre_hook(lambda m, x: keep.append(x[0]))\n"
          "entering(lambda x: keep.pop())", "input of stages.1.0.shortcut"),
    Fault("shortcut added after the activation", RES, "stages.0.1", 1,
          "compute(lambda x: at.shortcut(x) + F.relu(at.restore(at.spatial(at.reduce(x)))))"),
    Fault("shortcut added before the activation", SHUFFLE1, "stages.1.1", 1,
          "compute(lambda x: x + F.relu(at.expand(at.shuffle(at.depthwise(at.reduce(x))))))"),
    Fault("no activation after the addition", RES, "stages.2.1", 1,
          "compute(lambda x: at.shortcut(x) + at.restore(at.spatial(at.reduce(x))))"),
    Fault("shortcut without its scale", SCALED, "stages.0.1.addition", 1, "at.way = 'original'"),
    Fault("the branch scaled, too", SCALED, "stages.1.2.addition", 1, "at.way = 'scaled'"),
    Fault("branch from before the activation", PREACTIVATED, "stages.0.1.branch", 1,
          "keep = []\nowner.register_forward_pre_hook(lambda m, x: keep.append(x[0]))\nentering(lambda x: keep.pop())",
          "input of stages.0.1.branch"),
    Fault("layer scale forgotten", RD, "stages.0.blocks.1", 1,
          "compute(lambda x: at.drop_path(at.se(at.project(F.gelu(at.expand(at.norm(at.depthwise(x))))))))",
          "input of stages.0.blocks.1.drop_path"),
    Fault("layer scale twice", RD, "stages.1.blocks.0", 1, "output(lambda y: y * at.scale[:, None, None])"),
    Fault("the hidden layer's activation forgotten", ASYMM, "hidden", 1,
          "model.forward = lambda x: model.classifier(model.dropout("
          "model.hidden(model.last(model.stages(model.stem(x))).mean((2, 3), True)).flatten(1)))", "input of act"),
    Fault("maximum instead of mean over the map", SHUFFLE2, "dropout", 1,
          "model.forward = lambda x: model.classifier(model.dropout("
          "model.last(model.stages(model.pool(model.stem(x)))).amax((2, 3))))", "input of dropout"),
    Fault("a block left out", RES, "stages.2.2", 0, "become(nn.Identity())", "stages.2.2.*"),
    Fault("a block's input changed in place", MOBILE2, "stages.3.1", 1,
          "compute(lambda x: x.mul_(0.5) + at.project(at.depthwise(at.expand(2 * x))))"),
)  # fmt: skip

STATISTICS = (
    Fault("momentum of a normalisation", ASYMM, "stages.2.0.depthwise.norm", 2, "at.momentum = 0.11",
          "stages.2.0.depthwise.norm.running_mean"),
    Fault("momentum as the other share", SHUFFLE1, "stages.1.0.expand.norm", 2, "at.momentum = 1 - at.momentum",
          "stages.1.0.expand.norm.running_mean"),
    Fault("an average over all batches", SHUFFLE2, "stages.0.1.branch.0.norm", 2, "at.momentum = None",
          "stages.0.1.branch.0.norm.running_mean"),
    Fault("biased variance", MOBILE, "stages.3.0.depthwise.norm", 2,
          "def keep(layer, inputs, y):\n"
          "    if layer.training:\n"
          "        x = inputs[0]; n = x.numel() / x.shape[1]\n"
          "        layer.running_var -= layer.momentum * x.var((0, 2, 3)) / n\n"
          "at.register_forward_hook(keep)", "stages.3.0.depthwise.norm.running_var"),
    Fault("a variance around zero", SHUFFLE1, "stages.2.0.depthwise.norm", 2,
          "def keep(layer, inputs, y):\n"
          "    if layer.training:\n"
          "        layer.running_var += layer.momentum * inputs[0].mean((0, 2, 3)) ** 2\n"
          "at.register_forward_hook(keep)", "stages.2.0.depthwise.norm.running_var"),
    Fault("deviations for variances", EFFICIENT, "stages.0.0.project.norm", 2,
          "def keep(layer, inputs, y):\n"
          "    if layer.training:\n"
          "        v = inputs[0].var((0, 2, 3)); layer.running_var += layer.momentum * (v.sqrt() - v)\n"
          "at.register_forward_hook(keep)", "stages.0.0.project.norm.running_var"),
    Fault("statistics not updated", SHUFFLE2, "last.norm", 2,
          "compute(lambda x: F.batch_norm(x, None, None, at.weight, at.bias, True, 0.0, at.eps) if at.training else "
          "type(at).forward(at, x))", "last.norm.running_mean"),
    Fault("one statistic not updated", MOBILE2, "stem.norm", 2,
          "def keep(layer, inputs, y):\n"
          "    if layer.training:\n"
          "        layer.running_mean[5] -= layer.momentum * (inputs[0].mean((0, 2, 3)) - layer.running_mean)[5]\n"
          "at.register_forward_hook(keep)", "stem.norm.running_mean"),
    Fault("running statistics in training", ASYMM, "stages.1.1.depthwise.norm", 2,
          "at.eval(); at.train = lambda mode=True: at"),
    Fault("statistics of half the batch", DENSE, "stages.0.blocks.0.norm1", 2,
          "compute(lambda x: torch.cat([type(at).forward(at, half) for half in x.chunk(2)]))"),
    Fault("statistics for each image", RES, "stages.0.0.reduce.norm", 2,
          "compute(lambda x: F.instance_norm(x, None, None, at.weight, at.bias, True, 0.0, at.eps) if at.training else "
          "type(at).forward(at, x))"),
    Fault("statistics updated twice", MOBILE, "stages.2.0.expand.norm", 2,
          "def keep(layer, inputs, y):\n"
          "    if layer.training:\n"
          "        F.batch_norm(inputs[0], layer.running_mean, layer.running_var, None, None, True, layer.momentum)\n"
          "at.register_forward_hook(keep)", "stages.2.0.expand.norm.running_mean"),
)  # fmt: skip

DROPPED = (
    Fault("dropout rate", MOBILE, "dropout", 2, "at.p = 0.3"),
    Fault("dropout not scaled", ASYMM, "dropout", 2, "dropped(lambda x, draw: x * (draw(x.shape) >= at.p))"),
    Fault("dropout keeps what it should leave out", MOBILE2, "dropout", 2,
          "dropped(lambda x, draw: x * (draw(x.shape) < at.p) / at.p)"),
    Fault("dropout of whole channels for all images", EFFICIENT, "dropout", 2,
          "dropped(lambda x, draw: x * (draw(x.shape) >= at.p)[:1] / (1 - at.p))"),
    Fault("dropout in evaluation", MOBILE, "dropout", 1, "compute(lambda x: F.dropout(x, 0.2, True))"),
    Fault("dropout scaled in evaluation instead of training", ASYMM, "dropout", 1,
          "compute(lambda x: x if at.training else (1 - at.p) * x)"),
    Fault("dropout forgotten", MOBILE2, "dropout", 2, "at.p = 0.0"),
    Fault("dropout in the wrong place", MOBILE, "hidden", 2, "entering(lambda x: F.dropout(x, 0.2, at.training))",
          "input of hidden"),
    Fault("drop path for each element", EFFICIENT, "stages.1.1.drop_path", 2,
          "dropped(lambda x, draw: x * (torch.rand_like(x) >= at.rate) / (1 - at.rate))"),
    Fault("drop path not scaled", EFFICIENT, "stages.2.1.drop_path", 2,
          "dropped(lambda x, draw: x * (draw((len(x), 1, 1, 1)) >= at.rate))"),
    Fault("drop path of another block's rate", EFFICIENT, "stages.3.1.drop_path", 2, "at.rate = 0.2"),
    Fault("drop path over the sum", EFFICIENT, "stages.4.1", 2,
          "compute(lambda x: at.drop_path(x + at.project(at.se(at.depthwise(at.expand(x))))))",
          "input of stages.4.1.drop_path"),
)  # fmt: skip

FORWARD = CHANNELS + SHORTCUTS + STATISTICS + DROPPED
