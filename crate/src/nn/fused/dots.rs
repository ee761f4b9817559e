//! Dot products of every row of one matrix with every row of another, both read as they lie.

/// Rows of W and rows of x whose dot products are made together: 24 sums, as many as fit the registers.
pub(super) const TILE: (usize, usize) = (8, 3);
/// Numbers of a row that are taken together, so that the rows of W stay in the first-level cache while
/// those of x pass.
const DEPTH: usize = 1024;

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

impl Vectors {
    /// Up to so many rows of x, dot products are faster than a product that rearranges W.
    pub(super) fn few(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => 192,
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => 12,
        }
    }
}

/// The vectors that the machine has for dot products, if any.
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

/// Dot products of up to 8 rows of `w` with every row of `x`, of `inner` numbers each, into
/// `turned[i * n + j]` for row i of `w` and row j of the `n` rows of `x`.
pub(super) fn dots(
    vectors: Vectors,
    inner: usize,
    w: &[f32],
    x: &[f32],
    turned: &mut [f32],
    n: usize,
) {
    #[cfg(target_arch = "x86_64")]
    {
        let rows_w = w.len() / inner;
        assert!((1..=TILE.0).contains(&rows_w) && turned.len() >= rows_w * n);
        for start in (0..inner).step_by(DEPTH) {
            let depth = DEPTH.min(inner - start);
            // What is missing is repeated; its sums are not used.
            let row = |r: usize| r * inner + start..r * inner + start + depth;
            let ws = std::array::from_fn(|i| &w[row(i.min(rows_w - 1))]);
            for first in (0..n).step_by(TILE.1) {
                let rows_x = TILE.1.min(n - first);
                let xs = std::array::from_fn(|j| &x[row(first + j.min(rows_x - 1))]);
                // SAFETY: `vectors` comes from detection.
                let sums = unsafe {
                    match vectors {
                        Vectors::Avx512 => x86::tile_512(ws, xs),
                        Vectors::Avx2 => x86::tile_256(ws, xs),
                    }
                };
                for (i, sums) in sums.iter().enumerate().take(rows_w) {
                    let target = &mut turned[i * n + first..][..rows_x];
                    for (t, &s) in target.iter_mut().zip(sums) {
                        *t = if start == 0 { s } else { *t + s };
                    }
                }
            }
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

    #[target_feature(enable = "avx512f,avx2")]
    pub(super) fn tile_512(w: Rows<8>, x: Rows<3>) -> [[f32; 3]; 8] {
        let depth = w[0].len();
        let whole = depth / 16 * 16;
        let mut sums = [[_mm512_setzero_ps(); 3]; 8];
        for k in (0..whole).step_by(16) {
            // SAFETY: every row has `depth` numbers, and k + 16 ≤ depth.
            let load = |row: &[f32]| unsafe { _mm512_loadu_ps(row.as_ptr().add(k)) };
            let xs = [load(x[0]), load(x[1]), load(x[2])];
            for i in 0..8 {
                let w = load(w[i]);
                for j in 0..3 {
                    sums[i][j] = _mm512_fmadd_ps(w, xs[j], sums[i][j]);
                }
            }
        }
        let mut out = [[0f32; 3]; 8];
        for half in [0, 4] {
            for j in 0..3 {
                let halves = |i: usize| {
                    let sum = _mm512_castps_pd(sums[half + i][j]);
                    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd(sum, 1));
                    _mm256_add_ps(_mm512_castps512_ps256(sums[half + i][j]), high)
                };
                let sums = added([halves(0), halves(1), halves(2), halves(3)]);
                for i in 0..4 {
                    out[half + i][j] = sums[i] + rest(w[half + i], x[j], whole);
                }
            }
        }
        out
    }

    /// With 16 registers: two passes, each for 4 × 3 sums.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn tile_256(w: Rows<8>, x: Rows<3>) -> [[f32; 3]; 8] {
        let depth = w[0].len();
        let whole = depth / 8 * 8;
        let mut out = [[0f32; 3]; 8];
        for half in [0, 4] {
            let mut sums = [[_mm256_setzero_ps(); 3]; 4];
            for k in (0..whole).step_by(8) {
                // SAFETY: every row has `depth` numbers, and k + 8 ≤ depth.
                let load = |row: &[f32]| unsafe { _mm256_loadu_ps(row.as_ptr().add(k)) };
                let xs = [load(x[0]), load(x[1]), load(x[2])];
                for i in 0..4 {
                    let w = load(w[half + i]);
                    for j in 0..3 {
                        sums[i][j] = _mm256_fmadd_ps(w, xs[j], sums[i][j]);
                    }
                }
            }
            for j in 0..3 {
                let sums = added([sums[0][j], sums[1][j], sums[2][j], sums[3][j]]);
                for i in 0..4 {
                    out[half + i][j] = sums[i] + rest(w[half + i], x[j], whole);
                }
            }
        }
        out
    }

    /// The sum of each vector.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn added([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        let quarters = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        let high = _mm256_extractf128_ps(quarters, 1);
        let mut sums = [0f32; 4];
        // SAFETY: there is room for 4 numbers.
        unsafe {
            _mm_storeu_ps(sums.as_mut_ptr(), _mm_add_ps(_mm256_castps256_ps128(quarters), high))
        };
        sums
    }

    /// What the vectors leave over.
    #[inline(always)]
    fn rest(a: &[f32], b: &[f32], whole: usize) -> f32 {
        if whole == a.len() {
            return 0.0;
        }
        a[whole..].iter().zip(&b[whole..]).map(|(a, b)| a * b).sum()
    }
}
