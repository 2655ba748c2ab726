"""Mistakes in ports of torch_attention: heads, scales, softmax, gates, tokens, layer normalisation."""

from parity_tests.corpus.mistake import Mistake, planted

SPLIT = "x.reshape([n, t, self.heads, c // self.heads]).transpose([0, 2, 1, 3])"
SOFTMAX = "F.softmax(q @ k.transpose([0, 1, 3, 2]) * self.scale, -1)"
MERGE = "(attention @ v).transpose([0, 2, 1, 3]).flatten(2)"
GATE = "F.gelu(left) * F.sigmoid(right)"
SUM = "return x + self.dropout(self.shrink(self.gelu(self.expand(self.norm2(x)))))"
FIRST = "x = x + self.gamma * self.attention(self.norm1(x))"
POOLED = "paddle.concat([x[:, 0], x[:, 1:].mean(1)], 1)"
TOKENS = "paddle.concat([self.token.expand([x.shape[0], -1, -1]), x], 1) + self.position"
INSIDE = "attention.(value|key|query).* and block.attention.out"

MISTAKES: list[Mistake] = [
    *planted(
        "attention", "paddle",
        ("attention without a scale", "* self.scale, -1", ", -1", INSIDE, "scale 4\\^-0.5.*scale 1"),
        ("scale of the whole width", "(width // heads) ** -0.5", "width ** -0.5", INSIDE, "scale 4\\^-0.5.*scale 16\\^-0.5"),
        ("scale without a root", "(width // heads) ** -0.5", "(width // heads) ** -1", INSIDE, "scale 4\\^-0.5.*scale (4\\^-1|16\\^-0.5)"),
        ("softmax along the queries", SOFTMAX, SOFTMAX.replace(", -1)", ", -2)"), INSIDE, "softmax along axis -2"),
        ("softmax along the heads", SOFTMAX, SOFTMAX.replace(", -1)", ", 1)"), INSIDE, "softmax along axis 1"),
        ("no softmax", SOFTMAX, "q @ k.transpose([0, 1, 3, 2]) * self.scale", INSIDE, "no softmax"),
        ("number of heads", "Attention(width, 4)", "Attention(width, 2)", INSIDE, "4 heads.*2 heads"),
        ("heads split in another order", SPLIT, "x.reshape([n, t, c // self.heads, self.heads]).transpose([0, 3, 1, 2])", INSIDE, "heads split"),
        ("heads split without a transpose", SPLIT, "x.reshape([n, self.heads, t, c // self.heads])", INSIDE, "heads split without"),
        ("heads merged without a transpose", MERGE, "(attention @ v).reshape([x.shape[0], x.shape[1], 16])", INSIDE, "merged without"),
        ("heads merged in another order", MERGE, "(attention @ v).transpose([0, 2, 3, 1]).flatten(2)", INSIDE, "merged"),
        ("queries and keys exchanged", "attention = F.softmax(q @ k.", "q, k = k, q\n        attention = F.softmax(q @ k.", INSIDE, "attention\\(.*attention\\("),
        ("keys and values exchanged", "attention = F.softmax(q @ k.", "v, k = k, v\n        attention = F.softmax(q @ k.", INSIDE, "attention\\(.*attention\\("),
        ("tanh GELU as a layer", "nn.GELU()", "nn.GELU(approximate=True)", "block.gelu", "tanh"),
        ("ReLU for GELU", "nn.GELU()", "nn.ReLU()", "block.(gelu|expand)", "(?i)gelu.*relu"),
        ("SiLU for GELU", "nn.GELU()", "nn.Silu()", "block.(gelu|expand)", "(?i)gelu.*silu"),
        ("tanh GELU in a gate", "F.gelu(left)", "F.gelu(left, approximate=True)", "gate and project", "tanh approximation"),
        ("SiLU in a gate", "F.gelu(left)", "F.silu(left)", "gate and project", "gelu.*silu"),
        ("halves of a gate exchanged", "left, right = self.gate(x)", "right, left = self.gate(x)", "gate and project", r"gelu\(first half.*gelu\(second half"),
        ("no sigmoid in a gate", GATE, "F.gelu(left) * right", "gate and project", r"sigmoid\(.*, and paddle second half of gate \*"),
        ("gate is added", GATE, "F.gelu(left) + F.sigmoid(right)", "gate and project", r"\* sigmoid\(.*, and paddle .*half of gate.* \+ "),
        ("halves interleaved", "left, right = self.gate(x).chunk(2, -1)", "y = self.gate(x)\n        left, right = y[:, :, 0::2], y[:, :, 1::2]", "gate and project", "half of gate.*(even|odd) of gate"),
        ("halves along the tokens", "x = x + self.project(F.gelu(left) * F.sigmoid(right))", "right = right.flip([1])\n        x = x + self.project(F.gelu(left) * F.sigmoid(right))", "gate and project", r", and paddle .*flip\("),
        ("epsilon of layer normalisation", "self.norm1 = nn.LayerNorm(width, epsilon=1e-6)", "self.norm1 = nn.LayerNorm(width)", "block.norm1", "epsilon"),
        ("smaller epsilon of layer normalisation", "self.norm2 = nn.LayerNorm(width, epsilon=1e-6)", "self.norm2 = nn.LayerNorm(width, epsilon=1e-7)", "block.norm2", "epsilon"),
        ("epsilon left at the default", "self.norm = nn.LayerNorm(16)", "self.norm = nn.LayerNorm(16, epsilon=1e-6)", "norm", "epsilon"),
        ("normalised tokens and channels", "x = self.norm(x)", "x = self.norm(x.transpose([0, 2, 1])[:, :16].transpose([0, 2, 1])[:, :16])", "norm", "up to index 15 of axis 1"),
        ("normalisation left out", "x = self.norm(x)", "x = x + 0 * self.norm(x)", "norm", r"concatenate\(norm\[index 0.*, and paddle concatenate\(\(block \+ project\)\[index 0"),
        ("normalisation behind the sum", FIRST, "x = self.norm1(x + self.gamma * self.attention(x))", "norm1|attention", r"block's input, and paddle block's input \+ \(a factor for each channel\)"),
        ("residual around the normalised", FIRST, "y = self.norm1(x)\n        x = y + self.gamma * self.attention(y)", "norm2", r"and paddle block.norm1 \+"),
        ("dropped residual of attention", FIRST, "x = self.gamma * self.attention(self.norm1(x))", "norm2", r"block's input \+.*, and paddle \(a factor for each channel\) \* block.attention"),
        ("layer scale left out", FIRST, "x = x + self.attention(self.norm1(x)) + 0 * self.gamma", "norm2|attention", r"factor for each channel.*, and paddle block's input \+ block.attention"),
        ("layer scale of the sum", FIRST, "x = self.gamma * (x + self.attention(self.norm1(x)))", "norm2|attention", r"and paddle \(a factor for each channel\) \* block's input \+ \(a factor for each channel\)"),
        ("dropped residual of the second part", SUM, SUM.replace("x + ", ""), "block", r"block's input .*\+ block.dropout, and paddle block.dropout$"),
        ("residual twice", SUM, SUM.replace("x + ", "2 * x + "), "block", r"and paddle 2 \* block's input"),
        ("dropout before the linear layer", SUM, "return x + self.shrink(self.dropout(self.gelu(self.expand(self.norm2(x)))))", "block", "(?i)dropout|shrink|from"),
        ("rate of dropout", "nn.Dropout(0.1)", "nn.Dropout(0.2)", "dropout", "rate"),
        ("dropout with a stride", "nn.Dropout(0.1)", "nn.Dropout(0.1, axis=0)", "dropout|shrink", "dropped part"),
        ("functional dropout in evaluation", "self.dropout(self.shrink", "F.dropout(self.shrink", "block|model|dropout", "draws random numbers in evaluation"),
        ("class token behind the patches", TOKENS, "paddle.concat([x, self.token.expand([x.shape[0], -1, -1])], 1) + self.position", "block|patch", r"concatenate\(token, .*, and paddle concatenate\(reshape.*, token"),
        ("position only of patches", TOKENS, "paddle.concat([self.token.expand([x.shape[0], -1, -1]), x + self.position[:, 1:]], 1)", "block|patch", r"\+ position, and paddle"),
        ("position left out", TOKENS, "paddle.concat([self.token.expand([x.shape[0], -1, -1]), x], 1) + 0 * self.position", "block|patch", r"\+ position, and paddle concatenate\(token, [^+]*$"),
        ("position shifted", TOKENS, TOKENS.replace("self.position", "self.position.roll(1, 1)"), "block|patch", r"\+ position, and paddle"),
        ("patches by columns", "self.patch(x).flatten(2)", "self.patch(x).transpose([0, 1, 3, 2]).flatten(2)", "block|patch", r"transpose\(patch, \[0, 2, 3, 1\]\).*transpose\(patch, \[0, 3, 2, 1\]\)"),
        ("patches of channels", "self.patch(x).flatten(2).transpose([0, 2, 1])", "self.patch(x).reshape([x.shape[0], 16, 16])", "block|patch", r"transpose\(patch, \[0, 2, 3, 1\]\).*, and paddle .*flatten\(patch"),
        ("patches overlap", "nn.Conv2D(3, 16, 8, stride=8)", "nn.Conv2D(3, 16, 8, stride=8, padding=2)", "patch", "padding"),
        ("mean of all tokens", POOLED, "paddle.concat([x[:, 0], x.mean(1)], 1)", "norm and head", r"mean\(norm\[from index 1.*mean\(norm; axis 1\)"),
        ("last token for the first", POOLED, "paddle.concat([x[:, -1], x[:, 1:].mean(1)], 1)", "norm and head", "index 0 of axis 1.*index 16 of axis 1"),
        ("parts of the head exchanged", POOLED, "paddle.concat([x[:, 1:].mean(1), x[:, 0]], 1)", "norm and head", r"concatenate\(norm\[index 0.*concatenate\(mean\("),
        ("maximum of tokens", POOLED, "paddle.concat([x[:, 0], x[:, 1:].max(1)], 1)", "norm and head", r"mean\(norm\[from index 1.*max\(norm\[from index 1"),
        ("attention twice", FIRST, f"{FIRST}\n        {FIRST}", "attention|norm", "once in torch and 2 times"),
        ("frozen token", "self.token = self.create_parameter([1, 1, 16])", "self.token = self.create_parameter([1, 1, 16])\n        self.token.stop_gradient = True", "token", "frozen"),
        ("gradient of attention stopped", FIRST, "x = x + self.gamma * self.attention(self.norm1(x)).detach()", "attention", "paddle stops the gradient from .* to block.attention"),
        ("gradient of keys stopped", "k = self.split(self.key(x))", "k = self.split(self.key(x)).detach()", "attention.key", "paddle stops the gradient from .* to block.attention.key"),
        ("bias of a linear layer missing", "self.value = nn.Linear(width, width)", "self.value = nn.Linear(width, width, bias_attr=False)", "value", "counterpart"),
    ),
    *planted(
        "attention", "mindspore",
        ("mindspore: tanh GELU by default", "nn.GELU(approximate=False)", "nn.GELU()", "block.gelu", "tanh"),
        ("mindspore: epsilon of layer normalisation", "self.norm = nn.LayerNorm((16,), epsilon=1e-5)", "self.norm = nn.LayerNorm((16,))", "norm", "epsilon"),
        ("mindspore: attention without a scale", "* self.scale, -1)", ", -1)", INSIDE, r"scale 4\^-0.5.*scale 1[,)]"),
        ("mindspore: softmax along the queries", "* self.scale, -1)", "* self.scale, -2)", INSIDE, "softmax along axis -2"),
        ("mindspore: halves exchanged", "left, right = ops.chunk", "right, left = ops.chunk", "gate and project", r"gelu\(first half.*gelu\(second half"),
        ("mindspore: tanh GELU in a gate", 'approximate="none"', 'approximate="tanh"', "gate and project", "tanh approximation"),
        ("mindspore: dropped residual", "return x + self.dropout(", "return self.dropout(", "block", r"block's input .*\+ block.dropout, and mindspore block.dropout$"),
    ),
    *planted(
        "attention", "torch",
        ("torch: heads split without a transpose", "x.reshape(n, t, self.heads, c // self.heads).transpose(1, 2)", "x.reshape(n, self.heads, t, c // self.heads)", INSIDE, "heads split without"),
        ("torch: tanh GELU", "nn.GELU()", 'nn.GELU(approximate="tanh")', "block.gelu", "tanh"),
        ("torch: scale of the whole width", "(width // heads) ** -0.5", "width ** -0.5", INSIDE, r"scale 16\^-0.5.*scale 4\^-0.5"),
        ("torch: mean of all tokens", "x[:, 1:].mean(1)", "x.mean(1)", "norm and head", r"mean\(norm; axis 1\).*mean\(norm\[from index 1"),
    ),
]  # fmt: skip
