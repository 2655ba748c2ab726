"""Faults of single operators: normalisations, convolutions and linear layers, activations, pools, gates, numbers.

See parity_tests.faults.Fault for the columns, and parity_tests.faults.backend for what their code can say."""

from __future__ import annotations

from parity_tests.faults.fault import Fault

ASYMM, MOBILE, MOBILE2 = "asymmnet_small_x0_35", "mobilenet_v3_small_x0_35", "mobilenet_v2_x0_35"
SHUFFLE1, SHUFFLE2, SHUFFLE2_TV = "shufflenet_v1_g3_x0_25", "shufflenet_v2_x0_5", "shufflenet_v2_x0_5_torchvision"
DENSE, RD, EFFICIENT, VGG = "densenet121", "rdnet_tiny", "efficientnet_v2_b0_same", "vgg16_bn"
RES, RES2, RES2_KERAS = "resnet50", "resnet50_v2", "resnet50_v2_keras"
GATED, PADDED = "resnet110_cifar_exclusive_gating", "resnet110_cifar"

NORMS = (
    Fault("epsilon of a normalisation", ASYMM, "stages.1.1.expand.norm", 1, "at.eps = 1e-3"),
    Fault("epsilon forgotten", MOBILE, "stages.2.0.expand.norm", 1, "at.eps = 0.0"),
    Fault("epsilon outside the root", EFFICIENT, "stages.0.0.project.norm", 1,
          "compute(lambda x: F.batch_norm((x - at.running_mean[:, None, None]) / (at.running_var[:, None, None].sqrt() "
          "+ at.eps), 0 * at.running_mean, 0 * at.running_var + 1, at.weight, at.bias, eps=0.0))"),
    Fault("gamma and beta exchanged", SHUFFLE1, "stages.1.1.reduce.norm", 1,
          "compute(lambda x: F.batch_norm(x, at.running_mean, at.running_var, at.bias, at.weight, eps=at.eps))"),
    Fault("mean and variance exchanged", SHUFFLE1, "stages.1.1.expand.norm", 1,
          "compute(lambda x: F.batch_norm(x, at.running_var, at.running_mean.abs(), at.weight, at.bias))"),
    Fault("gamma forgotten", SHUFFLE2, "stages.0.1.branch.1.norm", 1,
          "compute(lambda x: F.batch_norm(x, at.running_mean, at.running_var, None, at.bias, eps=at.eps))"),
    Fault("beta forgotten", RES2, "stages.0.0.norm", 1,
          "compute(lambda x: F.batch_norm(x, at.running_mean, at.running_var, at.weight, None, eps=at.eps))"),
    Fault("mean not subtracted", MOBILE2, "stages.1.0.project.norm", 1,
          "compute(lambda x: F.batch_norm(x, 0 * at.running_mean, at.running_var, at.weight, at.bias, eps=at.eps))"),
    Fault("variance taken for a deviation", SHUFFLE2_TV, "stages.1.0.branch.2.norm", 1,
          "compute(lambda x: F.batch_norm(x, at.running_mean, at.running_var ** 2, at.weight, at.bias, eps=at.eps))"),
    Fault("batch statistics in evaluation", SHUFFLE2, "stages.1.0.branch.0.norm", 1,
          "compute(lambda x: F.batch_norm(x, None, None, at.weight, at.bias, True, 0.0, at.eps))"),
    Fault("gamma of the next channel", ASYMM, "stages.1.0.project.norm", 1,
          "compute(lambda x: F.batch_norm(x, at.running_mean, at.running_var, at.weight.roll(1), at.bias, "
          "eps=at.eps))"),
    Fault("layer normalisation over the map, too", RD, "stages.0.blocks.0.norm", 1,
          "compute(lambda x: F.group_norm(x, 1, at.weight, at.bias, at.eps))"),
    Fault("layer normalisation with another epsilon", RD, "stages.1.transition.norm", 1, "at.eps = 1e-5"),
    Fault("layer normalisation with the unbiased variance", RD, "norm", 1,
          "compute(lambda x: (x - x.mean(1, True)) / (x.var(1, keepdim=True) + at.eps).sqrt() * at.weight + at.bias)"),
    Fault("statistics updated in evaluation", MOBILE, "last.norm", 1,
          "def keep(layer, inputs, y):\n"
          "    if not layer.training:\n"
          "        layer.running_mean.lerp_(inputs[0].mean((0, 2, 3)), 0.01)\n"
          "at.register_forward_hook(keep)", "last.norm.running_mean"),
)  # fmt: skip

CONVOLUTIONS = (
    Fault("SAME padding at the wrong side", EFFICIENT, "stem.conv", 1,
          "def same(x):\n"
          "    r, c = (max((-(-side // 2) - 1) * 2 + 3 - side, 0) for side in x.shape[2:])\n"
          "    return nn.Conv2d.forward(at, F.pad(x, (c - c // 2, c // 2, r - r // 2, r // 2)))\n"
          "compute(same)"),
    Fault("the same padding on both sides instead of SAME", EFFICIENT, "stages.3.0.depthwise.conv", 1,
          "compute(lambda x: F.conv2d(x, at.weight, None, at.stride, 1, 1, at.groups))"),
    Fault("padding by reflection", ASYMM, "stages.1.1.depthwise.conv", 1,
          "compute(lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), 'reflect'), at.weight, groups=at.groups))"),
    Fault("padding round the edge", SHUFFLE2, "stages.1.1.branch.1.conv", 1,
          "compute(lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), 'circular'), at.weight, groups=at.groups))"),
    Fault("padding before the normalisation's shift", DENSE, "stages.0.blocks.0.conv2", 1,
          "compute(lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), value=0.1), at.weight))"),
    Fault("padding forgotten", SHUFFLE1, "stem.conv", 0, "at.padding = (0, 0)"),
    Fault("padding of another kernel", MOBILE, "stages.2.0.depthwise.conv", 0, "at.padding = (1, 1)"),
    Fault("stride", ASYMM, "stages.2.0.depthwise.conv", 0, "at.stride = (1, 1)"),
    Fault("stride in another convolution of the block", RES, "stages.1.0.reduce.conv", 0,
          "at.stride = (2, 2); model.stages[1][0].spatial.conv.stride = (1, 1)"),
    Fault("the last stage's stride", MOBILE2, "stages.5.0.depthwise.conv", 0, "at.stride = (1, 1)"),
    Fault("dilation", SHUFFLE2_TV, "stages.0.1.branch.1.conv", 1, "at.dilation = at.padding = (2, 2)"),
    Fault("bias forgotten", MOBILE, "hidden", 0, "at.bias = None", "hidden | hidden.bias"),
    Fault("bias that nobody asked for", ASYMM, "hidden", 0, "become(nn.Conv2d(at.in_channels, at.out_channels, 1))",
          "hidden | hidden.bias"),
    Fault("bias not added", RD, "stages.0.blocks.0.expand", 1, "compute(lambda x: F.conv2d(x, at.weight))"),
    Fault("bias twice", RD, "stages.0.blocks.1.project", 1, "output(lambda y: y + at.bias[:, None, None])"),
    Fault("the classifier's bias of another class", SHUFFLE2_TV, "classifier", 1,
          "compute(lambda x: F.linear(x, at.weight, at.bias.roll(1)))"),
    Fault("transposed square weight of a convolution", ASYMM, "stages.0.0.project.conv.weight", 1,
          "loaded(lambda w: w.transpose(0, 1))", "stages.0.0.project.conv"),
    Fault("transposed square weight of a gate", RD, "stages.3.blocks.0.se.conv.weight", 1,
          "loaded(lambda w: w.transpose(0, 1))", "stages.3.blocks.0.se.conv"),
    Fault("transposed square weight of a linear layer", VGG, "hidden2.weight", 1, "loaded(lambda w: w.T)", "hidden2"),
    Fault("kernels flipped", SHUFFLE1, "stages.1.2.depthwise.conv.weight", 1, "loaded(lambda w: w.flip(2, 3))",
          "stages.1.2.depthwise.conv"),
    Fault("kernels with rows for columns", MOBILE, "stem.conv.weight", 1, "loaded(lambda w: w.transpose(2, 3))",
          "stem.conv"),
    Fault("kernels moved by a pixel", SHUFFLE2, "stem.conv.weight", 1, "loaded(lambda w: w.roll(1, 3))", "stem.conv"),
    Fault("groups that take turns instead of standing side by side", SHUFFLE1, "stages.1.1.expand.conv", 1,
          "entering(lambda x: x.unflatten(1, (-1, at.groups)).transpose(1, 2).flatten(1, 2))",
          "input of stages.1.1.expand.conv"),
    Fault("one group for all", SHUFFLE1, "stages.1.3.reduce.conv", 0,
          "become(nn.Conv2d(at.in_channels, at.out_channels, 1, bias=False))",
          "stages.1.3.reduce.conv | stages.1.3.reduce.conv.weight"),
    Fault("two channels of a weight exchanged", MOBILE2, "stages.0.0.project.conv.weight", 1,
          "loaded(lambda w: w[[1, 0, *range(2, len(w))]])", "stages.0.0.project.conv"),
    Fault("one element of a weight", MOBILE2, "last.conv.weight", 1,
          "def one(w):\n    w[3, 5] *= 1.2\n    return w\nloaded(one)", "last.conv"),
    Fault("a weight that was never loaded", SHUFFLE2, "stages.2.0.shortcut.1.conv.weight", 1,
          "first = at.detach().clone(); loaded(lambda w: first)", "stages.2.0.shortcut.1.conv"),
    Fault("weights of half precision", ASYMM, "stages.2.1.project.conv.weight", 1, "loaded(lambda w: w.half())",
          "stages.2.1.project.conv"),
    Fault("a layer in half precision", MOBILE, "stages.1.1.expand.conv", 1, "output(lambda y: y.half().to(y.dtype))"),
    Fault("a layer in bfloat16", MOBILE, "last.conv", 1, "output(lambda y: y.bfloat16().to(y.dtype))"),
    Fault("off by a hundred-millionth in double precision", ASYMM, "stem.conv", 1,
          "output(lambda y: y * (1 + 1e-8) if y.dtype == torch.float64 else y)"),
)  # fmt: skip

ACTIVATIONS = (
    Fault("activation forgotten", MOBILE, "stages.1.0.expand.act", 1, "become(nn.Identity())"),
    Fault("an activation too many", ASYMM, "stages.1.0.project.act", 1, "become(nn.ReLU())"),
    Fault("ReLU for hard-swish", ASYMM, "last.act", 1, "become(nn.ReLU())"),
    Fault("hard-swish for SiLU", EFFICIENT, "stages.1.0.expand.act", 1, "become(nn.Hardswish())"),
    Fault("SiLU for hard-swish", MOBILE, "stages.2.1.depthwise.act", 1, "become(nn.SiLU())"),
    Fault("ReLU for ReLU6", MOBILE2, "stages.2.0.expand.act", 1, "become(nn.ReLU())"),
    Fault("a cap of 5 in ReLU6", MOBILE2, "stages.1.0.expand.act", 1, "become(nn.Hardtanh(0.0, 5.0))"),
    Fault("ReLU6 for ReLU", SHUFFLE2, "last.act", 1, "become(nn.ReLU6())"),
    Fault("leaky ReLU", SHUFFLE1, "stages.0.1.reduce.act", 1, "become(nn.LeakyReLU(0.01))"),
    Fault("ReLU before the normalisation", RES, "stages.0.2.spatial", 1,
          "compute(lambda x: at.norm(F.relu(at.conv(x))))", "input of stages.0.2.spatial.norm"),
    Fault("GELU by its tanh", RD, "stages.0.blocks.1", 1,
          "compute(lambda x: at.drop_path(at.se(at.project(F.gelu(at.expand(at.norm(at.depthwise(x))), "
          "approximate='tanh'))) * at.scale.reshape(-1, 1, 1)))", "input of stages.0.blocks.1.project"),
    Fault("sigmoid for hard-sigmoid", MOBILE, "stages.0.0.se.gate", 1, "become(nn.Sigmoid())"),
    Fault("hard-sigmoid for sigmoid", EFFICIENT, "stages.3.1.se.gate", 1, "become(nn.Hardsigmoid())"),
    Fault("hard-sigmoid of slope 0.2", ASYMM, "stages.2.1.se.gate", 1,
          "compute(lambda x: (0.2 * x + 0.5).clamp(0, 1))"),
    Fault("hard-sigmoid of slope 0.1667", ASYMM, "stages.3.0.se.gate", 1,
          "compute(lambda x: (0.1667 * x + 0.5).clamp(0, 1))"),
    Fault("softmax in the network", SHUFFLE1, "classifier", 1, "output(lambda y: y.softmax(1))"),
    Fault("the head's activation forgotten", DENSE, "norm", 1,
          "model.forward = lambda x: model.classifier(model.dropout(model.norm(model.stages(model.pool(model.stem(x))))"
          ".mean((2, 3))))", "input of dropout"),
)  # fmt: skip

GATES = (
    Fault("squeeze-and-excitation without gate", MOBILE, "stages.2.1.se.gate", 1, "become(nn.Identity())"),
    Fault("gate and activation exchanged", ASYMM, "stages.2.2.se", 1, "at.act, at.gate = at.gate, at.act",
          "stages.2.2.se.act"),
    Fault("mean over one axis", EFFICIENT, "stages.3.0.se", 0,
          "compute(lambda x: x * at.gate(at.restore(at.act(at.reduce(x.mean(3, keepdim=True))))))",
          "input of stages.3.0.se.reduce"),
    Fault("maximum instead of mean", MOBILE, "stages.2.2.se", 1,
          "compute(lambda x: x * at.gate(at.restore(at.act(at.reduce(x.amax((2, 3), keepdim=True))))))",
          "input of stages.2.2.se.reduce"),
    Fault("the gate added", MOBILE, "stages.3.0.se", 1,
          "compute(lambda x: x + at.gate(at.restore(at.act(at.reduce(x.mean((2, 3), keepdim=True))))))"),
    Fault("squeezed to another width", ASYMM, "stages.2.0.se", 0,
          "become(layers.SqueezeExcite(at.reduce.in_channels, at.reduce.out_channels + 8))", "stages.2.0.se.reduce*"),
    Fault("squeeze-and-excitation forgotten", MOBILE, "stages.2.3.se", 0, "become(nn.Identity())",
          "stages.2.3.se.reduce*"),
    Fault("the gates of another image", MOBILE, "stages.2.4.se", 1,
          "compute(lambda x: x * at.gate(at.restore(at.act(at.reduce(x.mean((2, 3), keepdim=True))))).flip(0))"),
    Fault("the gate of a shortcut exchanged with the branch's", GATED, "stages.0.1.addition", 1,
          "compute(lambda x, y: at.gate(x).sigmoid() * x + (1 - at.gate(x).sigmoid()) * y)"),
)  # fmt: skip

POOLS = (
    Fault("mean for maximum", SHUFFLE2, "pool", 1, "become(nn.AvgPool2d(3, 2, 1))"),
    Fault("maximum for mean", SHUFFLE1, "stages.1.0.pool", 1, "become(nn.MaxPool2d(3, 2, 1))"),
    Fault("maximum for mean, without padding", DENSE, "stages.1.transition.pool", 1, "become(nn.MaxPool2d(2, 2))"),
    Fault("padding not counted in a mean", SHUFFLE1, "stages.0.0.pool", 1, "at.count_include_pad = False"),
    Fault("zeros around a maximum", RES2, "pool", 1, "become(nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)))"),
    Fault("no zeros around a maximum", RES2_KERAS, "pool.0", 1, "compute(lambda x: F.pad(x, (1,) * 4, value=-1e30))"),
    Fault("a pool that rounds sizes up", SHUFFLE2, "pool", 0, "at.ceil_mode = True"),
    Fault("stride of a pool", SHUFFLE1, "pool", 0, "at.stride = 1"),
    Fault("another window of a pool", SHUFFLE2_TV, "pool", 1, "at.kernel_size, at.padding = 5, 2"),
    Fault("every other position, the odd ones", RES2, "stages.0.2.shortcut", 1,
          "entering(lambda x: x.roll((-1, -1), (2, 3)))", "input of stages.0.2.shortcut"),
    Fault("zeros before the channels instead of behind them", PADDED, "stages.1.0.match", 1,
          "compute(lambda x: F.pad(at.sample(x), (0, 0, 0, 0, at.extra, 0)))"),
    Fault("bilinear resizing for adaptive pooling", VGG, "grid", 1,
          "compute(lambda x: F.interpolate(x, (7, 7), mode='bilinear'))"),
)  # fmt: skip

NUMBERS = (
    Fault("one NaN", ASYMM, "hidden", 1, "output(lambda y: y.index_fill(1, torch.tensor(7), float('nan')))"),
    Fault("one infinity", SHUFFLE2, "stages.1.0.branch.0.norm", 1,
          "def one(y):\n    y = y.clone(); y[0, 3, 1, 1] = float('inf'); return y\noutput(one)"),
    Fault("one element", ASYMM, "stages.2.0.project.norm", 1,
          "def one(y):\n    y = y.clone(); y[-1, 3, 1, 1] += 0.01; return y\noutput(one)"),
    Fault("channels in another order", MOBILE2, "stages.1.0.expand.conv", 1, "output(lambda y: y.roll(1, 1))"),
    Fault("two channels exchanged", MOBILE2, "stem.norm", 1, "output(lambda y: y[:, [1, 0, *range(2, y.shape[1])]])"),
    Fault("the batch in reverse order", ASYMM, "stages.2.0", 1, "output(lambda y: y.flip(0))"),
    Fault("the first image for all", SHUFFLE1, "stages.2.0", 1, "output(lambda y: y[:1].expand_as(y))"),
    Fault("part of the batch", ASYMM, "", 1, "output(lambda y: y[:1])", "logits"),
    Fault("mirrored", MOBILE, "stages.0.0.depthwise.conv", 1, "output(lambda y: y.flip(3))"),
    Fault("rows for columns", MOBILE2, "stem.act", 1, "output(lambda y: y.transpose(2, 3).contiguous().view_as(y))"),
    Fault("moved by a pixel", SHUFFLE2, "stem.conv", 1, "output(lambda y: y.roll(1, 2))"),
    Fault("blue for red", MOBILE, "stem.conv", 1, "entering(lambda x: x.flip(1))",
          "input of stem | input of stem.conv"),
    Fault("classes in another order", MOBILE, "classifier", 1, "output(lambda y: y.flip(1))"),
    Fault("logits at another temperature", ASYMM, "classifier", 1, "output(lambda y: y / 2)"),
    Fault("a constant added", SHUFFLE1, "stages.1.0.expand.conv", 1, "output(lambda y: y + 0.01)"),
    Fault("the other sign", MOBILE2, "stages.2.0.depthwise.conv", 1, "output(lambda y: -y)"),
)  # fmt: skip

OPERATORS = NORMS + CONVOLUTIONS + ACTIVATIONS + GATES + POOLS + NUMBERS
