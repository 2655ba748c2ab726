"""Faults between operators, and faults of training mode: statistics, dropout and drop path."""

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
    Fault("copied channels on one side", ASYMM, "stages.1.1", 1,
          "replace_forward(lambda x: x + target.project(target.depthwise(torch.cat([target.expand(x), x, x], 1))))",
          "input of stages.1.1.depthwise"),
    Fault("branch before shortcut in a concatenation", SHUFFLE1, "stages.1.0", 1,
          "replace_forward(lambda x: "
          "torch.cat([F.relu(target.expand(target.shuffle(target.depthwise(target.reduce(x))))), target.pool(x)], 1))"),
    Fault("new channels in front of the old ones", DENSE, "stages.0", 1,
          "def run(x):\n"
          "    x = target.transition(x)\n"
          "    for block in target.blocks:\n"
          "        x = torch.cat([block(x), x], 1)\n"
          "    return x\n"
          "replace_forward(run)",
          "input of stages.0.blocks.1"),
    Fault("halves swapped", SHUFFLE2, "stages.0.1", 1,
          "def run(x):\n"
          "    b, a = target.before(x).chunk(2, 1)\n"
          "    return torch.cat([a, target.branch(b)], 1)\n"
          "replace_forward(run)",
          "input of stages.0.1.shortcut | input of stages.0.1.branch"),
    Fault("even channels instead of the first half", SHUFFLE2_TV, "stages.1.1", 1,
          "replace_forward(lambda x: target.after(torch.cat([target.shortcut(target.before(x)[:, ::2]), "
          "target.branch(x[:, 1::2])], 1)))",
          "input of stages.1.1.shortcut"),
    Fault("wrong number of groups in a shuffle", SHUFFLE1, "stages.0.2.shuffle", 1, "target.groups = 3"),
    Fault("wrong order of halves in a shuffle", SHUFFLE2_TV, "stages.2.1.after", 1, "target.groups = 96"),
    Fault("shuffle forgotten", SHUFFLE1, "stages.1.2.shuffle", 1, "replace_module(nn.Identity())"),
    Fault("shuffle forgotten at the start of a unit", SHUFFLE2, "stages.1.2.before", 1,
          "replace_module(nn.Identity())"),
    Fault("shuffle before the depthwise convolution", SHUFFLE1, "stages.2.1", 1,
          "replace_forward(lambda x: F.relu(x + target.expand(target.depthwise(target.shuffle(target.reduce(x))))))",
          "input of stages.2.1.shuffle | input of stages.2.1.depthwise"),
)  # fmt: skip

SHORTCUTS = (
    Fault("shortcut dropped", ASYMM, "stages.1.1", 1, "target.block = replace(target.block, stride=2)"),
    Fault("additional shortcut", EFFICIENT, "stages.0.0", 1, "change_output(lambda y: 2 * y)"),
    Fault("shortcut added twice", MOBILE2, "stages.1.1", 1,
          "replace_forward(lambda x: 2 * x + target.project(target.depthwise(target.expand(x))))"),
    Fault("shortcut subtracted", MOBILE, "stages.2.4", 1,
          "replace_forward(lambda x: target.project(target.se(target.depthwise(target.expand(x)))) - x)"),
    Fault("shortcut from after the activation", RES2, "stages.0.1", 1,
          "replace_forward(lambda x: F.relu(target.norm(x)) + "
          "target.restore(target.spatial(target.reduce(F.relu(target.norm(x))))))",
          "stages.0.1 | input of stages.0.1.shortcut"),
    Fault("shortcut from before the activation", RES2, "stages.1.0.shortcut", 1,
          "keep = []\nmodel.stages[1][0].register_forward_pre_hook(lambda m, x: keep.append(x[0]))\n"
          "change_input(lambda x: keep.pop())", "input of stages.1.0.shortcut"),
    Fault("shortcut added after the activation", RES, "stages.0.1", 1,
          "replace_forward(lambda x: target.shortcut(x) + F.relu(target.restore(target.spatial(target.reduce(x)))))"),
    Fault("shortcut added before the activation", SHUFFLE1, "stages.1.1", 1,
          "replace_forward(lambda x: x + F.relu(target.expand(target.shuffle(target.depthwise(target.reduce(x))))))"),
    Fault("no activation after the addition", RES, "stages.2.1", 1,
          "replace_forward(lambda x: target.shortcut(x) + target.restore(target.spatial(target.reduce(x))))"),
    Fault("shortcut without its scale", SCALED, "stages.0.1.addition", 1, "target.way = 'original'"),
    Fault("branch scaled like its shortcut", SCALED, "stages.1.2.addition", 1, "target.way = 'scaled'"),
    Fault("branch from before the activation", PREACTIVATED, "stages.0.1.branch", 1,
          "keep = []\nowner.register_forward_pre_hook(lambda m, x: keep.append(x[0]))\n"
          "change_input(lambda x: keep.pop())",
          "input of stages.0.1.branch"),
    Fault("layer scale forgotten", RD, "stages.0.blocks.1", 1,
          "replace_forward(lambda x: "
          "target.drop_path(target.se(target.project(F.gelu(target.expand(target.norm(target.depthwise(x))))))))",
          "input of stages.0.blocks.1.drop_path"),
    Fault("layer scale applied twice", RD, "stages.1.blocks.0", 1,
          "change_output(lambda y: y * target.scale[:, None, None])"),
    Fault("the hidden layer's activation forgotten", ASYMM, "hidden", 1,
          "model.forward = lambda x: model.classifier(model.dropout("
          "model.hidden(model.last(model.stages(model.stem(x))).mean((2, 3), True)).flatten(1)))", "input of act"),
    Fault("maximum instead of mean over the map", SHUFFLE2, "dropout", 1,
          "model.forward = lambda x: model.classifier(model.dropout("
          "model.last(model.stages(model.pool(model.stem(x)))).amax((2, 3))))", "input of dropout"),
    Fault("a block left out", RES, "stages.2.2", 0, "replace_module(nn.Identity())", "stages.2.2.*"),
    Fault("a block's input changed in place", MOBILE2, "stages.3.1", 1,
          "replace_forward(lambda x: x.mul_(0.5) + target.project(target.depthwise(target.expand(2 * x))))"),
)  # fmt: skip

STATISTICS = (
    Fault("momentum of a normalisation", ASYMM, "stages.2.0.depthwise.norm", 2, "target.momentum = 0.11",
          "stages.2.0.depthwise.norm.running_mean"),
    Fault("momentum as the weight of the old value", SHUFFLE1, "stages.1.0.expand.norm", 2,
          "target.momentum = 1 - target.momentum",
          "stages.1.0.expand.norm.running_mean"),
    Fault("running statistics averaged over all batches", SHUFFLE2, "stages.0.1.branch.0.norm", 2,
          "target.momentum = None",
          "stages.0.1.branch.0.norm.running_mean"),
    Fault("biased variance", MOBILE, "stages.3.0.depthwise.norm", 2,
          "def keep(layer, inputs, y):\n"
          "    if layer.training:\n"
          "        x = inputs[0]; n = x.numel() / x.shape[1]\n"
          "        layer.running_var -= layer.momentum * x.var((0, 2, 3)) / n\n"
          "target.register_forward_hook(keep)", "stages.3.0.depthwise.norm.running_var"),
    Fault("variance around 0 instead of the mean", SHUFFLE1, "stages.2.0.depthwise.norm", 2,
          "def keep(layer, inputs, y):\n"
          "    if layer.training:\n"
          "        layer.running_var += layer.momentum * inputs[0].mean((0, 2, 3)) ** 2\n"
          "target.register_forward_hook(keep)", "stages.2.0.depthwise.norm.running_var"),
    Fault("standard deviations instead of variances", EFFICIENT, "stages.0.0.project.norm", 2,
          "def keep(layer, inputs, y):\n"
          "    if layer.training:\n"
          "        v = inputs[0].var((0, 2, 3)); layer.running_var += layer.momentum * (v.sqrt() - v)\n"
          "target.register_forward_hook(keep)", "stages.0.0.project.norm.running_var"),
    Fault("statistics not updated", SHUFFLE2, "last.norm", 2,
          "replace_forward(lambda x: F.batch_norm(x, None, None, target.weight, target.bias, True, 0.0, target.eps) "
          "if target.training else type(target).forward(target, x))", "last.norm.running_mean"),
    Fault("one statistic not updated", MOBILE2, "stem.norm", 2,
          "def keep(layer, inputs, y):\n"
          "    if layer.training:\n"
          "        layer.running_mean[5] -= layer.momentum * (inputs[0].mean((0, 2, 3)) - layer.running_mean)[5]\n"
          "target.register_forward_hook(keep)", "stem.norm.running_mean"),
    Fault("running statistics used in training", ASYMM, "stages.1.1.depthwise.norm", 2,
          "target.eval(); target.train = lambda mode=True: target"),
    Fault("statistics of half of the batch", DENSE, "stages.0.blocks.0.norm1", 2,
          "replace_forward(lambda x: torch.cat([type(target).forward(target, half) for half in x.chunk(2)]))"),
    Fault("statistics for each image", RES, "stages.0.0.reduce.norm", 2,
          "replace_forward(lambda x: F.instance_norm(x, None, None, target.weight, target.bias, True, 0.0, "
          "target.eps) if target.training else type(target).forward(target, x))"),
    Fault("statistics updated twice", MOBILE, "stages.2.0.expand.norm", 2,
          "def keep(layer, inputs, y):\n"
          "    if layer.training:\n"
          "        F.batch_norm(inputs[0], layer.running_mean, layer.running_var, None, None, True, layer.momentum)\n"
          "target.register_forward_hook(keep)", "stages.2.0.expand.norm.running_mean"),
)  # fmt: skip

DROPPED = (
    Fault("dropout rate", MOBILE, "dropout", 2, "target.p = 0.3"),
    Fault("dropout not scaled", ASYMM, "dropout", 2,
          "replace_dropout(lambda x, draw: x * (draw(x.shape) >= target.p))"),
    Fault("dropout inverted", MOBILE2, "dropout", 2,
          "replace_dropout(lambda x, draw: x * (draw(x.shape) < target.p) / target.p)"),
    Fault("the same dropout for all images", EFFICIENT, "dropout", 2,
          "replace_dropout(lambda x, draw: x * (draw(x.shape) >= target.p)[:1] / (1 - target.p))"),
    Fault("dropout in evaluation", MOBILE, "dropout", 1, "replace_forward(lambda x: F.dropout(x, 0.2, True))"),
    Fault("dropout scaled in evaluation instead of training", ASYMM, "dropout", 1,
          "replace_forward(lambda x: x if target.training else (1 - target.p) * x)"),
    Fault("dropout forgotten", MOBILE2, "dropout", 2, "target.p = 0.0"),
    Fault("dropout in the wrong place", MOBILE, "hidden", 2,
          "change_input(lambda x: F.dropout(x, 0.2, target.training))",
          "input of hidden"),
    Fault("drop path for each element", EFFICIENT, "stages.1.1.drop_path", 2,
          "replace_dropout(lambda x, draw: x * (torch.rand_like(x) >= target.rate) / (1 - target.rate))"),
    Fault("drop path not scaled", EFFICIENT, "stages.2.1.drop_path", 2,
          "replace_dropout(lambda x, draw: x * (draw((len(x), 1, 1, 1)) >= target.rate))"),
    Fault("drop path with the rate of another block", EFFICIENT, "stages.3.1.drop_path", 2, "target.rate = 0.2"),
    Fault("drop path after the addition", EFFICIENT, "stages.4.1", 2,
          "replace_forward(lambda x: target.drop_path(x + "
          "target.project(target.se(target.depthwise(target.expand(x))))))",
          "input of stages.4.1.drop_path"),
)  # fmt: skip

FORWARD = CHANNELS + SHORTCUTS + STATISTICS + DROPPED
