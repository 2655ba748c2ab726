"""A user model in PaddlePaddle for parity_tests/weights/test_mapped_porting.py: see torch_ported.py."""

from paddle import nn


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.out, self.act, self.between, self.ln = nn.Linear(8, 5), nn.ReLU(), nn.Linear(8, 8), nn.LayerNorm(8)
        self.up = nn.Conv2DTranspose(8, 8, 2, stride=2)
        self.stem, self.bn = nn.Conv2D(3, 8, 3, padding=1, bias_attr=False), nn.BatchNorm2D(8)
        self.depthwise = nn.Conv2D(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2D(8, 8, 3, padding=1, groups=2)

    def forward(self, x):
        x = self.up(self.grouped(self.depthwise(self.act(self.bn(self.stem(x))))))
        return self.out(self.act(self.between(self.ln(x.mean([2, 3])))))
