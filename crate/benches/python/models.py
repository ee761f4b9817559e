"""What `bench-models` does under the same name, in plain PyTorch and timm.

    models.py OPERATION        prints `seconds peak_mb check version`
"""
import math
import os
import resource
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(os.cpu_count())
DEVICE = os.environ.get("SPATIALKIT_DEVICE", "cpu")
SPOTS, GENES, CHUNK, EPOCHS = 1800, 1000, 50, 3
BATCH, BATCHES = 8, 3


def numbers(shape, p):
    i = np.arange(math.prod(shape), dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = i + np.uint64(p << 32) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (2 * ((z >> np.uint64(11)) / 2.0**53) - 1).reshape(shape)


def tensor(values):
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(DEVICE)


@torch.no_grad()
def load(model):
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    for p, name in enumerate(sorted(state)):
        v = state[name]
        scales = v.dim() == 1 and name.endswith((".weight", ".gamma"))
        base = 1.0 if scales or name.endswith("running_var") else 0.0
        v.copy_(tensor(base + 0.04 * numbers(tuple(v.shape), p)))


@torch.inference_mode()
def vit():
    import timm

    model = timm.create_model("vit_large_patch16_224", init_values=1e-5, num_classes=0).eval().to(DEVICE)
    load(model)
    images = tensor(2 * numbers((BATCH, 3, 224, 224), 1_000_000))
    check = lambda: model(images).abs().double().sum().item()
    check()
    start = time.perf_counter()
    for _ in range(BATCHES):
        found = check()
    return (time.perf_counter() - start) / BATCHES, found


def chunks(scales):
    features = tensor(numbers((SPOTS, scales, 1024), 1_000_000)).split(CHUNK)
    target = tensor(np.maximum(numbers((SPOTS, GENES), 1_000_001), 0)).split(CHUNK)
    return list(zip(features, target))


def train(model, batches):
    """Seconds of an epoch, one step of Adam a chunk, and the sum of the losses of the last."""
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)

    def epoch():
        loss = 0.0
        for inputs, target in batches:
            adam.zero_grad()
            error = F.mse_loss(model(*inputs), target)
            error.backward()
            adam.step()
            loss += error.item()
        return loss

    epoch()
    start = time.perf_counter()
    for _ in range(EPOCHS):
        loss = epoch()
    return (time.perf_counter() - start) / EPOCHS, loss


class Attention(nn.Module):
    def __init__(self, d, heads=4, width=64):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(d, 3 * heads * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * width, d))

    def forward(self, x):
        n, h = x.shape[0], self.heads
        q, k, v = (t.view(n, h, -1).transpose(0, 1) for t in self.to_qkv(x).chunk(3, dim=-1))
        weights = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1)
        return self.to_out((weights @ v).transpose(0, 1).reshape(n, -1))


class PreNorm(nn.Module):
    def __init__(self, d, fn):
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(d), fn

    def forward(self, x):
        return self.fn(self.norm(x))


class FeedForward(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.Identity(), nn.Linear(d, d))

    def forward(self, x):
        return self.net(x)


class Layers(nn.Module):
    def __init__(self, d):
        super().__init__()
        pair = [PreNorm(d, Attention(d)), PreNorm(d, FeedForward(d))]
        self.layers = nn.ModuleList([nn.ModuleList(pair)])


class HisToSGE(nn.Module):
    def __init__(self, d=1024):
        super().__init__()
        self.x_embed, self.y_embed = nn.Embedding(512, d), nn.Embedding(512, d)
        self.trans = Layers(d)
        self.gene_head = nn.Sequential(
            nn.Linear(d, 2048), nn.ReLU(), nn.LayerNorm(2048), nn.Linear(2048, GENES)
        )
        self.layer_norm = nn.LayerNorm(d).requires_grad_(False)

    def forward(self, features, centers):
        x = features + self.x_embed(centers[:, 0]) + self.y_embed(centers[:, 1])
        for attention, perceptron in self.trans.layers:
            x = x + attention(x)
            x = x + perceptron(x)
        return F.relu(self.gene_head(x))


def histosge():
    model = HisToSGE().to(DEVICE)
    load(model)
    spots = torch.arange(SPOTS, device=DEVICE)
    centers = torch.stack([spots % 60, spots // 60], 1).split(CHUNK)
    return train(model, [((f.squeeze(1), c), t) for (f, t), c in zip(chunks(1), centers)])


class Embedder(nn.Module):
    def __init__(self, d):
        super().__init__()
        before = lambda: [nn.Linear(d, d), nn.LayerNorm(d), nn.GELU(), nn.Dropout(0.1)]
        self.pre_attn = nn.Sequential(*before(), *before())
        self.attn = nn.Module()
        self.attn.attention_a = nn.Sequential(nn.Linear(d, d), nn.Tanh(), nn.Dropout(0.25))
        self.attn.attention_b = nn.Sequential(nn.Linear(d, d), nn.Sigmoid(), nn.Dropout(0.25))
        self.attn.attention_c = nn.Linear(d, 1)

    def forward(self, x):
        x = self.pre_attn(x)
        gated = self.attn.attention_a(x) * self.attn.attention_b(x)
        return (self.attn.attention_c(gated).softmax(1) * x).sum(1)


class Feed(nn.Module):
    def __init__(self, d):
        super().__init__()
        for name, inner, out in [("fc6", d, d), ("fc7", d, 2048), ("fc8", 2048, 2048)]:
            setattr(self, name, nn.Linear(inner, out))
            setattr(self, f"{name}_bn", nn.BatchNorm1d(out))
        self.fc9 = nn.Linear(2048, GENES)

    def forward(self, x):
        for name in ["fc6", "fc7", "fc8"]:
            x = F.relu(getattr(self, f"{name}_bn")(getattr(self, name)(x)))
        return F.relu(self.fc9(x))


class SpaMCAF(nn.Module):
    def __init__(self, d=1024):
        super().__init__()
        self.wsi_embedder, self.feed = Embedder(d), Feed(d)

    def forward(self, features):
        return self.feed(self.wsi_embedder(features))


def spamcaf():
    model = SpaMCAF().to(DEVICE)
    load(model)
    return train(model, [((f,), t) for f, t in chunks(2)])


OPERATIONS = {"vit-encode": vit, "histosge-train": histosge, "spamcaf-train": spamcaf}

if __name__ == "__main__":
    operation = sys.argv[1]
    seconds, check = OPERATIONS[operation]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    version = f"PyTorch {torch.__version__.split('+')[0]}"
    if operation == "vit-encode":
        import timm

        version = f"timm {timm.__version__}, {version}"
    print(f"{seconds:.4f} {peak:.1f} {check} {version}")
