"""The pairs and triples of models of packages, and where those that differ are known to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FRAMEWORKS = {
    "torchvision": "torch",
    "timm": "torch",
    "pytorchcv": "torch",
    "paddle_vision": "paddle",
    "paddleclas": "paddle",
    "mindcv": "mindspore",
}


@dataclass(frozen=True)
class Pair:
    """Two or three models that claim to be the same network.

    name: "PACKAGE:MODEL PACKAGE:MODEL", the packages being modules of parity_tests/programs/corpus; side: that of the
    images in pixels; differs: backend -> the rung and the place where it is known to differ from the first; cause: why,
    in the table; error: for a pair that cannot be compared; core: whether it runs in the tests.
    """

    name: str
    side: int = 64
    differs: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    cause: str = ""
    error: str = ""
    core: bool = False

    @property
    def functions(self) -> dict[str, str]:
        """Backend -> "PACKAGE:MODEL"."""
        return {FRAMEWORKS[function.partition(":")[0]]: function for function in self.name.split()}

    @property
    def sources(self) -> dict[str, str]:
        """Backend -> "MODULE:FUNCTION"."""
        return {
            backend: "parity_tests.programs.corpus.{}_models:{}".format(*function.split(":"))
            for backend, function in self.functions.items()
        }


PAIRS = [
    Pair("pytorchcv:densenet121 paddle_vision:densenet121", side=32),
    Pair("pytorchcv:densenet121 paddleclas:DenseNet121", side=32),
    Pair("pytorchcv:dla46c paddleclas:DLA46_c", side=32),
    Pair("pytorchcv:dla46xc paddleclas:DLA46x_c", side=32),
    Pair(
        "pytorchcv:efficientnet_b0b paddleclas:EfficientNetB0",
        side=32,
        differs={"paddle": (0, "features.init_block.conv.bn")},
        cause="momentum 0.1 for 0.01",
    ),
    Pair("pytorchcv:hardnet39ds paddleclas:HarDNet39_ds"),
    Pair("pytorchcv:hardnet68ds paddleclas:HarDNet68_ds"),
    Pair("pytorchcv:mobilenet_w1 paddle_vision:mobilenet_v1", side=32),
    Pair(
        "pytorchcv:peleenet paddleclas:PeleeNet",
        side=224,
        differs={"paddle": (1, "input of features.init_block.last_conv.conv")},
        cause="the stem joins its branches in the other order",
    ),
    Pair("pytorchcv:regnetx002 paddleclas:RegNetX_200MF", side=32),
    Pair("pytorchcv:resnet18 paddle_vision:resnet18", side=32),
    Pair("pytorchcv:shufflenetv2b_wd2 paddle_vision:shufflenet_v2_x0_5", side=32),
    Pair(
        "pytorchcv:squeezenet_v1_0 paddleclas:SqueezeNet1_0",
        side=224,
        differs={"paddle": (0, "features.stage1.pool1")},
        cause="ceil_mode of the poolings, mode of the dropout",
    ),
    Pair(
        "pytorchcv:squeezenet_v1_1 paddle_vision:squeezenet1_1",
        side=224,
        differs={"paddle": (0, "features.stage1.pool1")},
        cause="ceil_mode of the poolings, mode of the dropout",
    ),
    Pair(
        "timm:coat_lite_tiny mindcv:coat_lite_tiny",
        side=224,
        differs={"mindspore": (1, "input of serial_blocks1.0.norm2")},
        cause="the shortcut of a block begins before the positional convolution",
    ),
    Pair(
        "timm:convnextv2_atto mindcv:convnextv2_atto",
        side=32,
        differs={"mindspore": (1, "input of stages.0.blocks.0.mlp.grn")},
        cause="GELU's tanh approximation",
    ),
    Pair(
        "timm:crossvit_9_240 mindcv:crossvit_9",
        side=240,
        differs={"mindspore": (0, "blocks.0.blocks.0.0.norm1")},
        cause="epsilon 1e-7 for 1e-6",
    ),
    Pair("timm:deit_tiny_patch16_224 paddleclas:DeiT_tiny_patch16_224", side=224),
    Pair("timm:densenet121 mindcv:densenet121", side=32),
    Pair("timm:densenet121 paddleclas:DenseNet121", side=32),
    Pair("timm:dla46_c paddleclas:DLA46_c", side=32),
    Pair("timm:dla46x_c paddleclas:DLA46x_c", side=32),
    Pair(
        "timm:edgenext_xx_small mindcv:edgenext_xx_small",
        differs={"mindspore": (1, "input of stages.1.blocks.1.xca.proj")},
        cause="L2Normalize's epsilon 1e-4 for 1e-12, which small signals show",
    ),
    Pair(
        "timm:efficientnet_b0 mindcv:efficientnet_b0",
        side=32,
        differs={"mindspore": (1, "conv_stem")},
        cause="MindCV pads as TensorFlow does",
    ),
    Pair(
        "timm:efficientnet_b0 paddleclas:EfficientNetB0",
        side=32,
        differs={"paddle": (0, "bn1")},
        cause="epsilon 1e-5 for 0.001, momentum 0.1 for 0.01, and padding as in TensorFlow",
    ),
    Pair(
        "timm:fasternet_t0 paddleclas:FasterNet_T0",
        side=32,
        differs={"paddle": (0, "patch_embed.norm")},
        cause="momentum 0.9 for 0.1",
    ),
    Pair("timm:ghostnet_050 mindcv:ghostnet_050", side=32),
    Pair("timm:ghostnet_100 mindcv:ghostnet_100", side=32),
    Pair("timm:levit_128s paddleclas:LeViT_128S", side=224),
    Pair(
        "timm:mixer_s32_224 mindcv:mlp_mixer_s_p32",
        side=224,
        differs={"mindspore": (0, "blocks.0.norm1")},
        cause="epsilon 1e-7 for 1e-6",
    ),
    Pair("timm:mixnet_s paddleclas:MixNet_S", side=224),
    Pair(
        "timm:mobilenetv1_100 mindcv:mobilenet_v1_100",
        side=32,
        differs={"mindspore": (1, "input of blocks.0.0.conv_dw")},
        cause="ReLU for ReLU6",
    ),
    Pair(
        "timm:mobilenetv1_100 paddle_vision:mobilenet_v1",
        side=32,
        differs={"paddle": (1, "input of blocks.0.0.conv_dw")},
        cause="ReLU for ReLU6",
    ),
    Pair(
        "timm:mobilenetv2_050 mindcv:mobilenet_v2_050_224",
        side=32,
        differs={"mindspore": (2, "input of classifier (after bn2)")},
        cause="dropout 0.2 in front of the classifier",
    ),
    Pair(
        "timm:mobilenetv2_100 paddle_vision:mobilenet_v2",
        side=32,
        differs={"paddle": (2, "input of classifier (after bn2)")},
        cause="dropout 0.2 in front of the classifier",
    ),
    Pair(
        "timm:mobilenetv3_small_100 mindcv:mobilenet_v3_small_100",
        side=32,
        differs={"mindspore": (1, "blocks.0.0.conv_dw")},
        cause="MindCV pads as TensorFlow does",
    ),
    Pair(
        "timm:mobilenetv3_small_100 paddle_vision:mobilenet_v3_small",
        side=32,
        differs={"paddle": (0, "bn1")},
        cause="epsilon 0.001 for 1e-5, momentum 0.01 for 0.1",
    ),
    Pair(
        "timm:pit_ti_224 mindcv:pit_ti",
        side=224,
        differs={"mindspore": (0, "transformers.0.blocks.0.mlp.act")},
        cause="GELU's tanh approximation",
    ),
    Pair(
        "timm:poolformer_s12 mindcv:poolformer_s12",
        side=32,
        differs={"mindspore": (0, "head.norm")},
        cause="epsilon 1e-5 for 1e-6 of the last normalisation",
    ),
    Pair("timm:regnety_002 mindcv:regnet_y_200mf", side=32),
    Pair(
        "timm:res2net50_26w_4s paddleclas:Res2Net50_26w_4s",
        side=32,
        differs={"paddle": (0, "layer2.0.pool")},
        cause="the border counts in the average pooling",
    ),
    Pair("timm:resnet18 paddle_vision:resnet18", side=32),
    Pair("timm:rexnet_100 paddleclas:ReXNet_1_0", side=32),
    Pair("timm:starnet_s1 paddleclas:StarNet_S1", side=32),
    Pair(
        "timm:swin_tiny_patch4_window7_224 mindcv:swin_tiny",
        side=224,
        differs={"mindspore": (0, "layers.1.downsample.norm")},
        cause="epsilon 1e-7 for 1e-5, and GELU's tanh approximation",
    ),
    Pair("timm:twins_svt_small paddleclas:alt_gvt_small", side=224),
    Pair(
        "timm:xcit_tiny_12_p16_224 mindcv:xcit_tiny_12_p16_224",
        side=224,
        differs={"mindspore": (0, "patch_embed.proj.1")},
        cause="GELU's tanh approximation",
    ),
    Pair("torchvision:densenet121 mindcv:densenet121", side=32),
    Pair("torchvision:densenet121 paddle_vision:densenet121", side=32),
    Pair(
        "torchvision:efficientnet_b0 mindcv:efficientnet_b0",
        side=32,
        differs={"mindspore": (1, "features.0.0")},
        cause="MindCV pads as TensorFlow does",
    ),
    Pair(
        "torchvision:mnasnet0_5 mindcv:mnasnet_050",
        side=32,
        differs={"mindspore": (0, "layers.1")},
        cause="epsilon 0.001 for 1e-5, momentum 0.01 for 0.0003",
    ),
    Pair(
        "torchvision:mnasnet0_75 mindcv:mnasnet_075",
        side=32,
        differs={"mindspore": (0, "layers.1")},
        cause="epsilon 0.001 for 1e-5, momentum 0.01 for 0.0003",
    ),
    Pair(
        "torchvision:inception_v3 mindcv:inception_v3",
        side=299,
        differs={"mindspore": (0, "Conv2d_1a_3x3.bn")},
        cause="momentum 0.0003 for 0.1",
    ),
    Pair("torchvision:mobilenet_v3_large paddle_vision:mobilenet_v3_large", side=32),
    Pair(
        "torchvision:mobilenet_v3_small mindcv:mobilenet_v3_small_100",
        side=32,
        differs={"mindspore": (0, "features.0.1")},
        cause="epsilon 1e-5 for 0.001, momentum 0.1 for 0.01",
    ),
    Pair("torchvision:mobilenet_v3_small paddle_vision:mobilenet_v3_small", side=32),
    Pair("torchvision:shufflenet_v2_x0_5 paddle_vision:shufflenet_v2_x0_5", side=32, core=True),
    Pair("torchvision:shufflenet_v2_x0_5 paddleclas:ShuffleNetV2_x0_5", side=32),
    Pair("torchvision:shufflenet_v2_x1_0 paddle_vision:shufflenet_v2_x1_0", side=32),
    Pair(
        "torchvision:squeezenet1_0 paddle_vision:squeezenet1_0",
        differs={"paddle": (0, "features.2")},
        cause="ceil_mode of the poolings",
    ),
    Pair(
        "torchvision:squeezenet1_0 paddleclas:SqueezeNet1_0",
        differs={"paddle": (0, "features.2")},
        cause="ceil_mode of the poolings",
    ),
    Pair(
        "torchvision:squeezenet1_1 paddle_vision:squeezenet1_1",
        differs={"paddle": (0, "features.2")},
        cause="ceil_mode of the poolings",
        core=True,
    ),
    Pair(
        "torchvision:squeezenet1_1 paddleclas:SqueezeNet1_1",
        differs={"paddle": (0, "features.2")},
        cause="ceil_mode of the poolings",
    ),
    Pair("pytorchcv:mobilenet_wd2 paddleclas:MobileNetV1_x0_5 mindcv:mobilenet_v1_050", side=32),
    Pair("pytorchcv:mobilenet_wd4 paddleclas:MobileNetV1_x0_25 mindcv:mobilenet_v1_025", side=32, core=True),
    Pair(
        "timm:pvt_v2_b0 paddleclas:PVT_V2_B0 mindcv:pvt_v2_b0",
        differs={"mindspore": (0, "patch_embed.norm")},
        cause="MindCV's epsilon 1e-7 for 1e-5",
    ),
    Pair("timm:regnetx_002 paddleclas:RegNetX_200MF mindcv:regnet_x_200mf", side=32),
    Pair("timm:repvgg_a0 paddleclas:RepVGG_A0", side=32),
    Pair("timm:repvgg_a0 paddleclas:RepVGG_A0 mindcv:repvgg_a0", side=32),
    Pair("torchvision:mobilenet_v2 paddle_vision:mobilenet_v2 mindcv:mobilenet_v2_100", side=32),
    Pair(
        "torchvision:resnet18 paddle_vision:resnet18 mindcv:resnet18",
        side=32,
        differs={"mindspore": (1, "input of layer1.0.conv1 (after bn1)")},
        cause="MindCV pads the first pooling as TensorFlow does",
    ),
]
