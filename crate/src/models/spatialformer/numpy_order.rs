//! The order that `numpy.argsort(x)` gives, that of equal values included, for numpy 2.2 and float64.
//!
//! numpy's default sort isn't stable: where equal values end up depends on its algorithm, and that on the CPU.
//!
//! ```text
//! portable      neither of those below     quicksort around the median of 3
//! avx2          AVX2                       up to 256 values a network, the same for both; above that,
//! vectorised    AVX-512                    quicksort around the median of 4 or 8, register by register
//! ```
//! NaN comes last, and 0.0 and -0.0 are equal. Indices are sorted in place; `less` takes two of them.

/// Up to here numpy's quicksort, and that of the C++ library, leave a part to insertion sort.
const SMALL: usize = 16;
/// Up to here the vectorised sort takes a network.
const NETWORK: usize = 256;
/// Values in a register.
const AVX2: usize = 4;
const AVX512: usize = 8;
/// Registers that the vectorised sort loads before it stores any.
const UNROLL: usize = 4;

/// As numpy sorts without AVX2 and AVX-512.
pub(super) fn portable(x: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    introsort(&mut order, &|a, b| before(x[a], x[b]));
    order
}

/// As numpy sorts with AVX2, but without AVX-512.
pub(super) fn avx2(x: &[f64]) -> Vec<usize> {
    by_registers::<AVX2>(x)
}

/// As numpy sorts with AVX-512.
pub(super) fn vectorised(x: &[f64]) -> Vec<usize> {
    by_registers::<AVX512>(x)
}

fn before(a: f64, b: f64) -> bool {
    a < b || (b.is_nan() && !a.is_nan())
}

/// How often quicksort may split, part within part: 2 ⌊log₂ n⌋.
fn depth_limit(n: usize) -> u32 {
    2 * n.checked_ilog2().unwrap_or(0)
}

// ---- numpy's own sort ----

fn introsort(order: &mut [usize], less: &impl Fn(usize, usize) -> bool) {
    let mut waiting = vec![(0, order.len(), Some(depth_limit(order.len())))];
    while let Some((mut start, mut end, mut depth)) = waiting.pop() {
        // Parts that needn't wait are at most half as long as the whole: their depth is not looked at.
        if depth.is_none() {
            heapsort(&mut order[start..end], less, sift);
            continue;
        }
        while end - start > SMALL {
            let middle = start + partition(&mut order[start..end], less);
            depth = depth.and_then(|left| left.checked_sub(1));
            if middle - start < end - 1 - middle {
                waiting.push((middle + 1, end, depth));
                end = middle;
            } else {
                waiting.push((start, middle, depth));
                start = middle + 1;
            }
        }
        insertion(&mut order[start..end], less);
    }
}

/// Splits around the median of the first, middle and last; returns where that went.
fn partition(order: &mut [usize], less: &impl Fn(usize, usize) -> bool) -> usize {
    let last = order.len() - 1;
    let middle = last / 2;
    for (low, high) in [(0, middle), (middle, last), (0, middle)] {
        if less(order[high], order[low]) {
            order.swap(low, high);
        }
    }
    let pivot = order[middle];
    order.swap(middle, last - 1);
    let (mut i, mut j) = (1, last - 2);
    loop {
        while less(order[i], pivot) {
            i += 1;
        }
        while less(pivot, order[j]) {
            j -= 1;
        }
        if i >= j {
            order.swap(i, last - 1);
            return i;
        }
        order.swap(i, j);
        (i, j) = (i + 1, j - 1);
    }
}

fn insertion(order: &mut [usize], less: &impl Fn(usize, usize) -> bool) {
    for i in 1..order.len() {
        let mut j = i;
        while j > 0 && less(order[j], order[j - 1]) {
            order.swap(j, j - 1);
            j -= 1;
        }
    }
}

fn heapsort<F>(order: &mut [usize], less: &F, sift: fn(&mut [usize], usize, &F)) {
    for root in (0..order.len() / 2).rev() {
        sift(order, root, less);
    }
    for end in (1..order.len()).rev() {
        order.swap(0, end);
        sift(&mut order[..end], 0, less);
    }
}

/// Lets `root` sink until no child is larger.
fn sift<F: Fn(usize, usize) -> bool>(heap: &mut [usize], mut root: usize, less: &F) {
    while 2 * root + 1 < heap.len() {
        let left = 2 * root + 1;
        let right_larger = left + 1 < heap.len() && less(heap[left], heap[left + 1]);
        let child = left + usize::from(right_larger);
        if !less(heap[root], heap[child]) {
            return;
        }
        heap.swap(root, child);
        root = child;
    }
}

// ---- the vectorised sort ----

fn by_registers<const LANES: usize>(x: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    if x.iter().any(|value| value.is_nan()) {
        std_sort(&mut order, &|a, b| before(x[a], x[b]));
    } else {
        quicksort::<LANES>(x, &mut order, depth_limit(x.len()));
    }
    order
}

fn quicksort<const LANES: usize>(x: &[f64], order: &mut [usize], depth: u32) {
    if depth == 0 {
        return std_sort(order, &|a, b| x[a] < x[b]);
    }
    if order.len() <= NETWORK {
        return network(x, order);
    }
    let pivot = pivot::<LANES>(x, order);
    let middle = split::<LANES>(x, order, pivot);
    let (left, right) = order.split_at_mut(middle);
    quicksort::<LANES>(x, left, depth - 1);
    if right.iter().any(|&i| x[i] > pivot) {
        quicksort::<LANES>(x, right, depth - 1);
    }
}

/// A bitonic network. All exchanges put the smaller value first and leave equal ones alone, so the infinity
/// that fills up the registers stays last, and nothing depends on their width.
fn network(x: &[f64], order: &mut [usize]) {
    let size = order.len().next_power_of_two();
    let mut exchange = |low: usize, high: usize| {
        if high < order.len() && x[order[low]] > x[order[high]] {
            order.swap(low, high);
        }
    };
    let mut half = 1;
    while half < size {
        for low in (0..size).filter(|i| i & half == 0) {
            exchange(low, low ^ (2 * half - 1));
        }
        let mut step = half / 2;
        while step > 0 {
            for low in (0..size).filter(|i| i & step == 0) {
                exchange(low, low + step);
            }
            step /= 2;
        }
        half *= 2;
    }
}

/// The upper median of as many values as a register has, evenly spaced.
fn pivot<const LANES: usize>(x: &[f64], order: &[usize]) -> f64 {
    let step = (order.len() - 1) / LANES;
    let mut values: [f64; LANES] = std::array::from_fn(|i| x[order[(i + 1) * step]]);
    values.sort_unstable_by(f64::total_cmp);
    values[LANES / 2]
}

/// Puts values below the pivot first, the others last; returns how many are below.
fn split<const LANES: usize>(x: &[f64], order: &mut [usize], pivot: f64) -> usize {
    let block = UNROLL * LANES;
    let (mut start, mut end) = (0, order.len());
    for _ in 0..order.len() % block {
        if x[order[start]] < pivot {
            start += 1;
        } else {
            end -= 1;
            order.swap(start, end);
        }
    }
    let mut room = start..end;
    // The outermost blocks come last, and the others are stored in their places.
    let outermost = [order[start..start + block].to_vec(), order[end - block..end].to_vec()];
    (start, end) = (start + block, end - block);
    while start < end {
        let from = if room.end - end < start - room.start {
            end -= block;
            end
        } else {
            start += block;
            start - block
        };
        let loaded = order[from..from + block].to_vec();
        room = store::<LANES>(order, room, &loaded, |i| x[i] < pivot);
    }
    for loaded in outermost {
        room = store::<LANES>(order, room, &loaded, |i| x[i] < pivot);
    }
    room.start
}

/// Stores each register at both ends of the room and returns what room is left. AVX2 turns round what goes to
/// the right.
fn store<const LANES: usize>(
    order: &mut [usize],
    mut room: std::ops::Range<usize>,
    loaded: &[usize],
    below: impl Fn(usize) -> bool,
) -> std::ops::Range<usize> {
    for register in loaded.chunks_exact(LANES) {
        for &i in register.iter().filter(|i| below(**i)) {
            order[room.start] = i;
            room.start += 1;
        }
        let right = room.end - register.iter().filter(|i| !below(**i)).count();
        for (at, &i) in register.iter().filter(|i| !below(**i)).enumerate() {
            order[if LANES == AVX2 { room.end - 1 - at } else { right + at }] = i;
        }
        room.end = right;
    }
    room
}

// ---- std::sort of the GNU C++ library: for NaN, and where the vectorised sort gets too deep ----

fn std_sort(order: &mut [usize], less: &impl Fn(usize, usize) -> bool) {
    std_introsort(order, depth_limit(order.len()), less);
    insertion(order, less);
}

fn std_introsort<F: Fn(usize, usize) -> bool>(order: &mut [usize], depth: u32, less: &F) {
    if order.len() <= SMALL {
        return;
    }
    if depth == 0 {
        return heapsort(order, less, std_sift);
    }
    let middle = std_partition(order, less);
    std_introsort(&mut order[middle..], depth - 1, less);
    std_introsort(&mut order[..middle], depth - 1, less);
}

fn std_partition(order: &mut [usize], less: &impl Fn(usize, usize) -> bool) -> usize {
    let [a, b, c] = [1, order.len() / 2, order.len() - 1];
    let below = |i: usize, j: usize| less(order[i], order[j]);
    let median = match (below(a, b), below(b, c), below(a, c)) {
        (true, true, _) | (false, false, false) => b,
        (true, false, true) | (false, true, false) => c,
        (true, false, false) | (false, _, true) => a,
    };
    order.swap(0, median);
    let (mut i, mut j) = (1, order.len() - 1);
    loop {
        while less(order[i], order[0]) {
            i += 1;
        }
        while less(order[0], order[j]) {
            j -= 1;
        }
        if i >= j {
            return i;
        }
        order.swap(i, j);
        (i, j) = (i + 1, j - 1);
    }
}

/// Lets `root` sink to a leaf along the larger children, then rise to its place.
fn std_sift<F: Fn(usize, usize) -> bool>(heap: &mut [usize], root: usize, less: &F) {
    let mut hole = root;
    while 2 * hole + 1 < heap.len() {
        let right = 2 * hole + 2;
        let left_larger = right == heap.len() || less(heap[right], heap[right - 1]);
        let child = right - usize::from(left_larger);
        heap.swap(hole, child);
        hole = child;
    }
    while hole > root && less(heap[(hole - 1) / 2], heap[hole]) {
        heap.swap(hole, (hole - 1) / 2);
        hole = (hole - 1) / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: [i8; 20] = [0, 2, 0, 1, 0, 0, 3, 1, 0, 0, 2, 0, 1, 0, 0, 0, 1, 0, 2, 0];

    fn few() -> Vec<f64> {
        FEW.iter().map(|&count| -f64::from(count)).collect()
    }

    /// Σ at · order[at] of `i = np.arange(1000); sign * (i * i % 11) / (1 + i % 3)`.
    fn sum(sort: fn(&[f64]) -> Vec<usize>, sign: f64) -> usize {
        let value = |i: u32| sign * f64::from(i * i % 11) / f64::from(1 + i % 3);
        let x: Vec<f64> = (0..1000).map(value).collect();
        sort(&x).iter().enumerate().map(|(at, i)| at * i).sum()
    }

    // np.argsort(x) of numpy 2.2.6 with NPY_DISABLE_CPU_FEATURES=AVX2, on a CPU without AVX-512.
    #[test]
    fn without_vector_instructions() {
        let want = [6, 1, 18, 10, 3, 16, 7, 12, 0, 17, 15, 14, 13, 9, 8, 5, 4, 2, 11, 19];
        assert_eq!(portable(&few()), want);
        assert_eq!([sum(portable, -1.0), sum(portable, 1.0)], [248_841_798, 249_459_900]);
    }

    // np.argsort(x) of numpy 2.2.6 on a CPU with AVX2. The sums of AVX-512 are those of the sorting library
    // that numpy 2.2.6 pins, its instructions emulated.
    #[test]
    fn with_vector_instructions() {
        let mut x = few();
        let want = [6, 1, 10, 18, 12, 3, 16, 7, 4, 5, 9, 8, 11, 13, 2, 0, 15, 14, 17, 19];
        assert_eq!((avx2(&x), vectorised(&x)), (want.to_vec(), want.to_vec()));
        assert_eq!([sum(avx2, -1.0), sum(avx2, 1.0)], [248_901_119, 249_288_365]);
        assert_eq!([sum(vectorised, -1.0), sum(vectorised, 1.0)], [249_084_348, 249_642_344]);
        (x[4], x[9]) = (f64::NAN, f64::NAN);
        let want = [6, 1, 18, 10, 3, 7, 12, 16, 5, 8, 2, 11, 13, 14, 15, 17, 0, 19, 4, 9];
        assert_eq!((avx2(&x), vectorised(&x)), (want.to_vec(), want.to_vec()));
    }
}
