"""A user model in PaddlePaddle for parity_tests/parity/test_forms.py: see torch_forms.py."""

from paddle import nn


class ChannelNorm(nn.Layer):
    def __init__(self, size):
        super().__init__()
        self.weight = self.create_parameter([size], default_initializer=nn.initializer.Constant(1.0))
        self.bias = self.create_parameter([size], is_bias=True)

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(-1, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * self.weight + self.bias


class Attention(nn.Layer):
    def __init__(self, order):
        super().__init__()
        self.k_proj, self.v_proj, self.q_proj, self.proj = (nn.Linear(8, 8) for _ in range(4))
        self.norm, self.order = ChannelNorm(8), order

    def forward(self, x):
        y = self.norm(x)
        q, k, v = (getattr(self, f"{name}_proj")(y) for name in self.order)
        return x + self.proj(nn.functional.softmax(q @ k.transpose([0, 2, 1]) * 8**-0.5) @ v)


class Net(nn.Layer):
    def __init__(self, order="qkv"):
        super().__init__()
        self.fc, self.attention = nn.Linear(8, 5), Attention(order)
        self.stem = nn.Conv2D(3, 8, 3, padding=1, bias_attr=False)
        self.scale = self.create_parameter([8], default_initializer=nn.initializer.Constant(1.0))

    def forward(self, x):
        x = self.stem(x) * self.scale.reshape([8, 1, 1])
        return self.fc(self.attention(x.flatten(2).transpose([0, 2, 1])).mean(1))


build = Net


def crossed():
    return Net("kqv")


class Single(Net):
    def forward(self, x):
        return super().forward(x.astype("float32"))


def crossed_single():
    return Single("kqv")
