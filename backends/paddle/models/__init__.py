"""The networks, one file per family, and the table that finds the network of a spec."""

from __future__ import annotations

from paddle import nn

from backends.paddle.models.asymmnet import AsymmNet
from backends.paddle.models.densenet import DenseNet
from backends.paddle.models.efficientnet_v2 import EfficientNetV2
from backends.paddle.models.mobilenet_v2 import MobileNetV2
from backends.paddle.models.rdnet import RDNet
from backends.paddle.models.resnet import ResNet, ResNetV2
from backends.paddle.models.resnet_cifar import ResNetCifar
from backends.paddle.models.shufflenet_v1 import ShuffleNetV1
from backends.paddle.models.shufflenet_v2 import ShuffleNetV2
from backends.paddle.models.vgg import VGG
from repro.specs import Spec
from repro.specs.asymmnet import AsymmNetSpec
from repro.specs.densenet import DenseNetSpec
from repro.specs.efficientnet_v2 import EfficientNetV2Spec
from repro.specs.mobilenet_v2 import MobileNetV2Spec
from repro.specs.rdnet import RDNetSpec
from repro.specs.resnet import ResNetSpec, ResNetV2Spec
from repro.specs.resnet_cifar import ResNetCifarSpec
from repro.specs.shufflenet_v1 import ShuffleNetV1Spec
from repro.specs.shufflenet_v2 import ShuffleNetV2Spec
from repro.specs.vgg import VGGSpec

FAMILIES: dict[type[Spec], type[nn.Layer]] = {
    AsymmNetSpec: AsymmNet,
    DenseNetSpec: DenseNet,
    EfficientNetV2Spec: EfficientNetV2,
    MobileNetV2Spec: MobileNetV2,
    RDNetSpec: RDNet,
    ResNetSpec: ResNet,
    ResNetV2Spec: ResNetV2,
    ResNetCifarSpec: ResNetCifar,
    ShuffleNetV1Spec: ShuffleNetV1,
    ShuffleNetV2Spec: ShuffleNetV2,
    VGGSpec: VGG,
}
