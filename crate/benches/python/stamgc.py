"""What STAMGC's published code does, in plain PyTorch and PyTorch Geometric: dense similarities, `GCNConv`.

    stamgc.py stamgc-preprocess SLIDE        prints `seconds peak_mb check version`
    stamgc.py stamgc-train SLIDE [EPOCHS]    the same, for the training
    stamgc.py seeds SLIDE SEED…              prints `seed ARI NMI` for each
    stamgc.py osmfish SLIDE SEED…            the same with the settings for osmFISH

SLIDE is an h5ad file with raw counts and labels in `obs["layer_guess"]` or `obs["Region"]`.
"""
import os
import resource
import sys
import time

import numpy as np
import scanpy as sc
import torch
import torch.nn.functional as F
import torch_geometric
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torch_geometric.nn import GCNConv

torch.set_num_threads(os.cpu_count())
DEVICE = os.environ.get("SPATIALKIT_DEVICE", "cpu")
VISIUM = dict(genes=3000, min_cells=50, min_counts=10, neighbours=6, pruning=1, domains=7, epochs=200, hidden=128,
              out=64, heads=4, head_dim=32, alpha=8, beta=0.3, gamma=0.7, sigma=None)
OSMFISH = dict(VISIUM, genes=33, min_cells=3, neighbours=4, domains=11, epochs=600, hidden=64, out=32, head_dim=16,
               alpha=1, beta=0.5, gamma=0.5, sigma=400)


def preprocess(adata, c):
    """Smoothed expression and the pruned graph, with the n x n matrices of the published code."""
    adata.var_names_make_unique()
    sc.pp.filter_genes(adata, min_cells=c["min_cells"])
    sc.pp.filter_genes(adata, min_counts=c["min_counts"])
    names = adata.var_names.str.upper()
    adata = adata[:, ~(names.str.startswith("ERCC") | names.str.startswith("MT-"))].copy()
    sc.pp.highly_variable_genes(adata, flavor="seurat_v3", n_top_genes=min(c["genes"], adata.n_vars))
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.scale(adata, zero_center=False, max_value=10)
    adata = adata[:, adata.var["highly_variable"]]
    adata = adata[adata.obs["truth"].notna()].copy()
    x = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    xy = np.asarray(adata.obsm["spatial"], dtype=float)
    sigma = c["sigma"]
    if sigma is None:
        library = next(iter(adata.uns["spatial"].values()))
        sigma = 2 * int(library["scalefactors"]["fiducial_diameter_fullres"])
    weights = np.exp(-cdist(xy, xy) ** 2 / (2 * sigma**2))
    weights /= weights.sum(1, keepdims=True)
    smooth = weights @ x
    n = len(xy)
    near = np.zeros((n, n))
    _, index = NearestNeighbors(n_neighbors=c["neighbours"] + 1).fit(xy).kneighbors(xy)
    for i in range(n):
        near[i, index[i]] = 1
    cosine = cdist(smooth, smooth, "cosine")
    for _ in range(c["pruning"]):
        near[np.arange(n), (near * cosine).argmax(1)] = 0
    graph = np.minimum(near + near.T, 1) - np.eye(n)
    return adata, x, smooth, graph


def clusters(values, count, seed):
    scores = PCA(min(20, values.shape[1]), random_state=seed).fit_transform(values)
    return KMeans(count, random_state=seed, n_init=10).fit_predict(scores) + 1


class Network(nn.Module):
    def __init__(self, genes, c):
        super().__init__()
        hidden, out, head = c["hidden"], c["out"], c["head_dim"]
        self.conv1, self.conv2 = GCNConv(genes, hidden), GCNConv(hidden, out)
        self.decoder = GCNConv(out, genes)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(out, head), nn.ReLU(), nn.Dropout(0.1), nn.Linear(head, head), nn.ReLU())
            for _ in range(c["heads"]))
        self.merge = nn.Sequential(nn.Linear(c["heads"] * head, out), nn.ReLU())

    def forward(self, x, edges):
        h = F.dropout(F.relu(self.conv1(x, edges)), 0.1, self.training)
        z = F.relu(self.conv2(h, edges))
        fused = self.merge(torch.cat([head(z) for head in self.heads], -1))
        return z, fused, F.relu(self.decoder(z, edges))


def cosines(x):
    u = F.normalize(x)
    return u @ u.T


def train(x, graph, pseudo, c, seed, epochs):
    """The network, and the loss of the last epoch."""
    torch.manual_seed(seed)
    x, graph = torch.FloatTensor(x).to(DEVICE), torch.FloatTensor(graph).to(DEVICE)
    pseudo = torch.FloatTensor(pseudo).to(DEVICE)
    edges = torch.stack(torch.where(graph != 0))
    model = Network(x.shape[1], c).to(DEVICE)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=5e-4)
    entropy = nn.BCEWithLogitsLoss()
    loss = torch.tensor(float("nan"))
    for _ in range(epochs):
        model.train()
        adam.zero_grad()
        z, fused, h = model(x, edges)
        e = cosines(z).exp()
        differ = (pseudo.view(-1, 1) != pseudo.view(1, -1)).float()
        contrast = -torch.log((e * graph).sum(1) / (e * differ).sum(1)).mean()
        loss = (c["alpha"] * F.mse_loss(h, x) + c["beta"] * contrast + c["gamma"] * entropy(cosines(fused), graph))
        loss.backward()
        adam.step()
        loss.item()
    model.eval()
    with torch.no_grad():
        return model(x, edges)[0].cpu().numpy(), loss.item()


def main():
    operation, slide, *rest = sys.argv[1:]
    c = OSMFISH if operation == "osmfish" else VISIUM
    adata = sc.read_h5ad(slide)
    adata.obs["truth"] = adata.obs["Region" if operation == "osmfish" else "layer_guess"]
    adata = adata[adata.obs["truth"] != "Excluded"].copy()
    start = time.perf_counter()
    adata, x, smooth, graph = preprocess(adata, c)
    seconds = time.perf_counter() - start
    check = float(np.abs(smooth).sum() + graph.sum())
    if operation in ("seeds", "osmfish"):
        truth = adata.obs["truth"]
        for seed in map(int, rest):
            pseudo = clusters(smooth, c["domains"], seed)
            z, _ = train(x, graph, pseudo, c, seed, c["epochs"])
            found = clusters(z, c["domains"], seed)
            ari, nmi = adjusted_rand_score(truth, found), normalized_mutual_info_score(truth, found)
            print(f"{seed} {ari:.4f} {nmi:.4f}", flush=True)
        return
    if operation == "stamgc-train":
        pseudo = clusters(smooth, c["domains"], 2025)
        start = time.perf_counter()
        _, check = train(x, graph, pseudo, c, 2025, int(rest[0]) if rest else c["epochs"])
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"{seconds:.4f} {peak:.1f} {check} PyTorch {torch.__version__}, PyG {torch_geometric.__version__}")


main()
