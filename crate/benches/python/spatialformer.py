"""The official `spatialformer` 0.1.8 on PyTorch, at the published size, on the CPU
or on what SPATIALKIT_DEVICE names.

    spatialformer.py spatialformer-embed-single|spatialformer-embed-pair|spatialformer-perturb [N]

prints `seconds peak_mb check version`. N takes the first N cells (pairs: N / 2 of them) or deletions.
All networks, heads and collation are the installed package's; what is here is their data and the loop.

Weights: tensor p of the sorted names of the state_dict, element i, from `numbers` (README of the golden
files, 1.1, `splitmix`). Cells: cell c takes the tokens 27 + splitmix(k + ((1000000 + c) << 32)) % 6038 for
k = 0, 1, 2, ..., without 1949 (SEP) and without those it already has, until it has enough; the first is
its strongest gene. Prefix 1 26 8 3 6 (CLS Disease Lung Human Xenium), suffix 1949.

single, pair: the loop of `embed_data` over batches of `collate_fn`, cell by cell or cells 2i and 2i + 1,
300 genes each; no files, no worker processes, no reverse check. The check is the sum of the CLS
embeddings or of P(positive).

perturb: the first 60 genes of cells 0 and 1. It does what `delete_pair` and `get_pairs` of
downstream/cell_cell_communication/perturbation_analysis.py in TerminatorJ/Spatialformer (3e9d10f) do: the
probability of the pair itself (with gradients, as there), all sequences with one left and one right token
taken out, padded to the old length, in batches of 8, and then one forward pass a batch over the whole
sequences; nothing is kept from one to the next. Two differences: `get_embeddings` of 0.1.8 also asks for
`sequence_length`; and the released loop counts SEP among the genes (61 x 61), this one does not (60 x 60,
left gene outside, right gene inside). The check is the sum of P(positive) of the deletions.
"""
import contextlib
import json
import logging
import math
import os
import resource
import sys
import time
from importlib.metadata import version

# This file has the package's name.
sys.path[:] = [p for p in sys.path if os.path.realpath(p or ".") != os.path.dirname(os.path.realpath(__file__))]
os.environ["WANDB_MODE"] = "disabled"

import numpy as np
import torch

with contextlib.redirect_stdout(sys.stderr):
    import spatialformer
    from spatialformer.tools.get_embeddings import collate_fn, get_file_path, manual_train_fm

torch.set_num_threads(2)
logging.disable(logging.WARNING)
DEVICE = os.environ.get("SPATIALKIT_DEVICE", "cpu")
CELLS, GENES, PERTURBED = 500, 300, 60
# As the configurations of single cells and of pairs have them; pairs of 8 would take 15 GB.
BATCHES = {"single": 8, "pair": 4, "perturb": 8}
PREFIX, SEP = [1, 26, 8, 3, 6], [1949]
FIRST, TOKENS = 27, 6065


def splitmix(i, p):
    with np.errstate(over="ignore"):
        z = np.asarray(i, dtype=np.uint64) + np.uint64((p << 32) + 0x9E3779B97F4A7C15 & 2**64 - 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def numbers(shape, p):
    u = (splitmix(np.arange(math.prod(shape)), p) >> np.uint64(11)) / 2.0**53
    return (0.04 * (2 * u - 1)).reshape(shape)


def cell(c, genes):
    tokens, k = dict.fromkeys(SEP), 0
    while len(tokens) <= genes:
        tokens[FIRST + int(splitmix(k, 1_000_000 + c)) % (TOKENS - FIRST)] = None
        k += 1
    return list(tokens)[1:]


@torch.no_grad()
def model(mode):
    with open(get_file_path("config", "_config_train_large_pair.json")) as f:
        config = json.load(f)
    folder = os.path.dirname(spatialformer.__file__)
    path = "spatial_embeddings/xenium_5k_pandavid_gene_embeddings.pkl"
    config["embedding_path"] = os.path.join(folder, path)
    net = manual_train_fm(config=config, use_flash_attn=False)
    state = net.state_dict()
    for p, name in enumerate(sorted(state)):
        v = state[name]
        values = numbers(tuple(v.shape), p)
        if name.endswith("num_batches_tracked"):
            values = np.zeros(())
        elif name.endswith("running_var"):
            values = 1 + 0.1 * np.abs(values)
        elif name.endswith(".scale") or v.dim() == 1 and name.endswith(".weight"):
            values = 1 + values
        v.copy_(torch.tensor(values))
    net.input_type = mode
    return net.eval().to(DEVICE)


def pairs(cells):
    return [
        ((a, b), PREFIX, SEP, 2 * i, 2 * i + 1, None, f"{2 * i}", f"{2 * i + 1}")
        for i, (a, b) in enumerate(zip(cells[::2], cells[1::2]))
    ]


def batches(items, size):
    return [collate_fn(items[i : i + size]) for i in range(0, len(items), size)]


def embed(mode, n):
    net = model(mode)
    cells = [cell(c, GENES) for c in range(min(n or CELLS, CELLS))]
    pair = mode == "pair"
    data = batches(pairs(cells) if pair else [(tokens, PREFIX, SEP) for tokens in cells], BATCHES[mode])
    embeddings, probabilities = [], []
    start = time.perf_counter()
    with torch.no_grad():
        for batch in data:
            hidden, found = net.get_embeddings(batch, layers=[-1], pair_prediction=pair, co_prediction=not pair)
            embeddings.append(hidden[0][:, 0].detach().cpu())
            if pair:
                probabilities.append(found.detach().cpu())
    embeddings = torch.cat(embeddings).numpy()
    seconds = time.perf_counter() - start
    if pair:
        return seconds, torch.cat(probabilities)[:, 1].double().sum().item()
    return seconds, embeddings.sum(dtype=np.float64)


def deletions(batch, n):
    """Batches of the pair without a gene of the left and one of the right cell, for the first n."""
    ids, types, mask = (batch[k][0] for k in ["indices", "token_type_ids", "attention_mask"])
    left, right = ids[types == 1][len(PREFIX) : -1], ids[types == 2][len(PREFIX) - 1 : -1]
    made, rows = [], []
    for i, j in [(i, j) for i in left for j in right][:n]:
        keep_left = ~torch.isin(ids[types == 1], i)
        keep_right = ~torch.isin(ids[types == 2], j)
        keep = torch.cat((keep_left, keep_right, (ids[types == 0] + 1).bool()))
        padding = torch.zeros(int((~keep).sum()), dtype=ids.dtype)
        rows.append(
            {
                "indices": torch.cat((ids[keep], padding)),
                "token_type_ids": torch.cat((types[keep], padding)),
                "attention_mask": torch.cat((mask[keep], padding.bool())),
                "sequence_length": torch.stack((keep_left.sum(), keep_right.sum())),
            }
        )
    size = BATCHES["perturb"]
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        made.append({k: torch.stack([row[k] for row in part]) for k in part[0]})
    return made


def perturb(n):
    net = model("pair")
    batch = collate_fn(pairs([cell(c, PERTURBED) for c in range(2)]))
    positive, change = [], []
    start = time.perf_counter()
    _, before = net.get_embeddings(batch, [-1], True, False)
    data = deletions(batch, n)
    with torch.no_grad():
        for deleted in data:
            _, after = net.get_embeddings(deleted, [-1], True, False)
            positive.append(after[:, 1])
            change.append((after[:, 1] - before[:, 1]).cpu().numpy())
    np.hstack(change)
    return time.perf_counter() - start, torch.cat(positive).double().sum().item()


OPERATIONS = {
    "spatialformer-embed-single": lambda n: embed("single", n),
    "spatialformer-embed-pair": lambda n: embed("pair", n),
    "spatialformer-perturb": perturb,
}

if __name__ == "__main__":
    limit = int(sys.argv[2]) if len(sys.argv) > 2 else None
    with contextlib.redirect_stdout(sys.stderr):
        seconds, check = OPERATIONS[sys.argv[1]](limit)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{seconds:.4f} {peak:.1f} {check} spatialformer {version('spatialformer')}, "
        f"PyTorch {torch.__version__.split('+')[0]}"
    )
