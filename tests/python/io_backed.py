"""Compares parts that we read from h5ad files with the slices that anndata reads in backed mode.

usage: io_backed.py ORIGINAL ROWS COLUMNS BOTH [ORIGINAL ROWS COLUMNS BOTH ...]

ROWS, COLUMNS and BOTH are h5ad files written from ours: every third row of the middle half, every
seventh column, and both. Prints one line a file; exit code 1 if one differs.
"""

import sys
import warnings

import anndata
from io_roundtrip import equal

warnings.simplefilter("ignore")
# We keep categories without elements, so that colours keep their meaning.
anndata.settings.remove_unused_categories = False


def compare(original, rows_of, columns_of, both_of):
    try:
        file, how = anndata.read_h5ad(original, backed="r"), "backed"
        file[:1].to_memory()
    except Exception as e:
        file, how = anndata.read_h5ad(original), f"in memory, for backed mode says: {str(e)[:60]}"
    n = file.n_obs
    rows, columns = slice(n // 4, n * 3 // 4, 3), slice(0, file.n_vars, 7)

    def part(*key):
        view = file[key]
        # A copy, for views are not always of the type of what they show.
        return (view.to_memory() if file.isbacked else view).copy()

    equal(part(rows, slice(None)), anndata.read_h5ad(rows_of))
    equal(part(slice(None), columns), anndata.read_h5ad(columns_of))
    equal(part(rows, columns), anndata.read_h5ad(both_of))
    return how


def main():
    failed = False
    args = sys.argv[1:]
    for group in zip(args[::4], args[1::4], args[2::4], args[3::4], strict=True):
        try:
            print("equal", group[0], f"({compare(*group)})")
        except Exception as e:  # every file is to be reported
            failed = True
            print("DIFFERS", group[0], type(e).__name__, str(e)[:1500])
    sys.exit(failed)


if __name__ == "__main__":
    main()
