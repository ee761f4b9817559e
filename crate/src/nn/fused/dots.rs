//! Dot products of every row of one matrix with every row of another, both read as they lie.

/// Rows of W and rows of x whose dot products are made together: 24 sums, as many as fit the registers.
pub(super) const TILE: (usize, usize) = (4, 6);

/// What the machine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vectors {
    /// 16 numbers at once.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 numbers at once.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

/// The vectors with which dot products are faster than a product that rearranges W, if there are any.
pub(super) fn vectors() -> Option<Vectors> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return Some(Vectors::Avx512);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Some(Vectors::Avx2);
        }
    }
    None
}

/// Dot products of up to 4 rows of `w` with up to 6 rows of `x`, of `inner` numbers each, into
/// `turned[i * n + j]` for row i of `w` and row j of `x`.
pub(super) fn tile(
    vectors: Vectors,
    inner: usize,
    w: &[f32],
    x: &[f32],
    turned: &mut [f32],
    n: usize,
) {
    #[cfg(target_arch = "x86_64")]
    {
        let (rows_w, rows_x) = (w.len() / inner, x.len() / inner);
        assert!((1..=TILE.0).contains(&rows_w) && (1..=TILE.1).contains(&rows_x));
        // What is missing is repeated; its sums are not used.
        let ws = std::array::from_fn(|i| &w[i.min(rows_w - 1) * inner..][..inner]);
        let xs = std::array::from_fn(|j| &x[j.min(rows_x - 1) * inner..][..inner]);
        // SAFETY: `vectors` comes from detection.
        let sums = unsafe {
            match vectors {
                Vectors::Avx512 => x86::tile_512(ws, xs),
                Vectors::Avx2 => x86::tile_256(ws, xs),
            }
        };
        for (i, sums) in sums.iter().enumerate().take(rows_w) {
            turned[i * n..][..rows_x].copy_from_slice(&sums[..rows_x]);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (inner, w, x, turned, n);
        match vectors {}
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    type Rows<'a, const N: usize> = [&'a [f32]; N];

    #[target_feature(enable = "avx512f")]
    pub(super) fn tile_512(w: Rows<4>, x: Rows<6>) -> [[f32; 6]; 4] {
        let inner = w[0].len();
        let whole = inner / 16 * 16;
        let mut sums = [[_mm512_setzero_ps(); 6]; 4];
        for k in (0..whole).step_by(16) {
            // SAFETY: every row has `inner` numbers, and k + 16 ≤ inner.
            let load = |row: &[f32]| unsafe { _mm512_loadu_ps(row.as_ptr().add(k)) };
            let ws = [load(w[0]), load(w[1]), load(w[2]), load(w[3])];
            for j in 0..6 {
                let x = load(x[j]);
                for i in 0..4 {
                    sums[i][j] = _mm512_fmadd_ps(ws[i], x, sums[i][j]);
                }
            }
        }
        let mut out = [[0f32; 6]; 4];
        for i in 0..4 {
            for j in 0..6 {
                out[i][j] = _mm512_reduce_add_ps(sums[i][j]) + rest(w[i], x[j], whole);
            }
        }
        out
    }

    /// With 16 registers: two passes over the rows of `x`, each for 4 × 3 sums.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn tile_256(w: Rows<4>, x: Rows<6>) -> [[f32; 6]; 4] {
        let inner = w[0].len();
        let whole = inner / 8 * 8;
        let mut out = [[0f32; 6]; 4];
        for half in [0, 3] {
            let mut sums = [[_mm256_setzero_ps(); 3]; 4];
            for k in (0..whole).step_by(8) {
                // SAFETY: every row has `inner` numbers, and k + 8 ≤ inner.
                let load = |row: &[f32]| unsafe { _mm256_loadu_ps(row.as_ptr().add(k)) };
                let xs = [load(x[half]), load(x[half + 1]), load(x[half + 2])];
                for i in 0..4 {
                    let w = load(w[i]);
                    for j in 0..3 {
                        sums[i][j] = _mm256_fmadd_ps(w, xs[j], sums[i][j]);
                    }
                }
            }
            for i in 0..4 {
                for j in 0..3 {
                    let mut lanes = [0f32; 8];
                    // SAFETY: there is room for 8 numbers.
                    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sums[i][j]) };
                    let [a, b, c, d, e, f, g, h] = lanes;
                    let sum = ((a + e) + (c + g)) + ((b + f) + (d + h));
                    out[i][half + j] = sum + rest(w[i], x[half + j], whole);
                }
            }
        }
        out
    }

    /// What the vectors leave over.
    #[inline(always)]
    fn rest(a: &[f32], b: &[f32], whole: usize) -> f32 {
        a[whole..].iter().zip(&b[whole..]).map(|(a, b)| a * b).sum()
    }
}
