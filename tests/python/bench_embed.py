"""Leiden, UMAP and t-SNE beside scanpy's, in turn on the same graph, two threads each.

    bench_embed.py BENCH_EMBED GRAPH.h5ad [leiden|umap|tsne …] [--runs N]

BENCH_EMBED is the program `bench-embed` (`cargo build --release -p spatialkit --example bench-embed`).
Prints one line of JSON a case: seconds are medians around the call itself, compiled code warmed up;
peaks are of whole processes, each of which holds the data too. `ratio` is above 1 where ours is faster.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time

for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = "2"

CASES = {
    "leiden": [
        ("leiden leidenalg -1", ["n_iterations=-1"], dict(flavor="leidenalg", n_iterations=-1)),
        ("leiden leidenalg 2", ["n_iterations=2"], dict(flavor="leidenalg", n_iterations=2)),
        ("leiden igraph 2", ["n_iterations=2"], dict(flavor="igraph", n_iterations=2, directed=False)),
    ],
    "umap": [("umap", [], {})],
    "tsne": [("tsne", [], dict(use_rep="X_pca", n_jobs=2))],
}


def reference(operation, path, options):
    """One measurement in this process, which is started for it alone."""
    import warnings

    import anndata as ad
    import scanpy as sc

    warnings.filterwarnings("ignore")
    a = ad.read_h5ad(path)
    a.uns["neighbors"]["params"]["use_rep"] = "X_pca"
    call = getattr(sc.tl, operation)
    if operation == "umap":
        call(a.copy(), maxiter=1)
    start = time.perf_counter()
    call(a, **options)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def run(command):
    out = subprocess.run(command, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout.strip().splitlines()[-1])


def main(args):
    runs = 3
    if "--runs" in args:
        at = args.index("--runs")
        runs = int(args[at + 1])
        del args[at : at + 2]
    program, path, *operations = args
    for operation in operations or CASES:
        for case, ours, theirs in CASES[operation]:
            a, b = [], []
            for _ in range(runs):
                a.append(run([program, operation, path, *ours]))
                b.append(run([sys.executable, __file__, "--reference", operation, path, json.dumps(theirs)]))
            seconds = [statistics.median(r["seconds"] for r in side) for side in (a, b)]
            peak = [max(r["peak_mb"] for r in side) for side in (a, b)]
            print(json.dumps({
                "case": case, "ours_s": round(seconds[0], 3), "reference_s": round(seconds[1], 3),
                "ratio": round(seconds[1] / seconds[0], 1), "ours_peak_mb": round(peak[0]),
                "reference_peak_mb": round(peak[1]), "reference": "scanpy 1.11", "n": runs,
            }), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--reference"]:
        reference(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
    else:
        main(sys.argv[1:])
