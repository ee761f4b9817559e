//! [`Target`]: the elements of an array, into which threads put chunks.

use std::marker::PhantomData;

/// An array as a flat buffer of items: bytes, of which several make an
/// element, or texts.
pub(super) struct Target<'a, T> {
    start: *mut T,
    /// Lengths of the array's axes, with the items of an element as the last.
    shape: Vec<usize>,
    buffer: PhantomData<&'a mut [T]>,
}

// Safety: threads write through `put` only, to boxes that do not overlap: every chunk of a grid has
// one key, and is decoded once.
unsafe impl<T: Send> Sync for Target<'_, T> {}

impl<'a, T: Clone> Target<'a, T> {
    /// For an array of `shape` whose elements are `size` items each.
    pub fn new(buffer: &'a mut [T], shape: &[usize], size: usize) -> Self {
        // A scalar is a list of one.
        let shape: Vec<usize> = match shape {
            [] => vec![1, size],
            axes => axes.iter().copied().chain([size]).collect(),
        };
        assert_eq!(buffer.len(), shape.iter().product::<usize>());
        Target { start: buffer.as_mut_ptr(), shape, buffer: PhantomData }
    }

    /// Puts the part of a chunk that lies inside the array into its place. The chunk has `shape`
    /// elements, lies at `origin`, and is stored with its axes in `order` (as they are, where that
    /// is empty).
    pub fn put(&self, items: &[T], origin: &[usize], shape: &[usize], order: &[usize]) {
        let size = self.shape[self.shape.len() - 1];
        let (mut origin, mut chunk) = (origin.to_vec(), shape.to_vec());
        if origin.is_empty() {
            (origin, chunk) = (vec![0], vec![1]);
        }
        // How far apart the neighbours on each axis are in the chunk.
        let axes = chunk.len();
        let mut strides = vec![0; axes];
        let mut stride = size;
        for i in (0..axes).rev() {
            let a = order.get(i).copied().unwrap_or(i);
            strides[a] = stride;
            stride *= chunk[a];
        }
        assert_eq!(items.len(), stride);
        strides.push(1);
        origin.push(0);
        chunk.push(size);

        // The box that is copied: its extent, the distances of neighbours in the buffer, its start.
        let mut extent: Vec<usize> = Vec::with_capacity(axes + 1);
        for a in 0..=axes {
            extent.push(chunk[a].min(self.shape[a].saturating_sub(origin[a])));
        }
        if extent.contains(&0) {
            return;
        }
        let mut steps = vec![1; axes + 1];
        for a in (0..axes).rev() {
            steps[a] = steps[a + 1] * self.shape[a + 1];
        }
        let at: usize = origin.iter().zip(&steps).map(|(o, s)| o * s).sum();
        // Axes that run through on both sides are copied as one.
        let mut run = extent.pop().unwrap_or(1);
        while let Some(&n) = extent.last() {
            let a = extent.len() - 1;
            if strides[a] != run || steps[a] != run {
                break;
            }
            run *= n;
            extent.pop();
        }
        self.copy(items, 0, at, &extent, &strides, &steps, run);
    }

    fn copy(
        &self,
        items: &[T],
        from: usize,
        at: usize,
        extent: &[usize],
        strides: &[usize],
        steps: &[usize],
        run: usize,
    ) {
        let Some((&n, inner)) = extent.split_first() else {
            let items = &items[from..from + run];
            // Safety: `at + run` lies inside the buffer, since the box was cut to its extent, and
            // no other thread writes to this box.
            let target = unsafe { std::slice::from_raw_parts_mut(self.start.add(at), run) };
            target.clone_from_slice(items);
            return;
        };
        for i in 0..n {
            let (from, at) = (from + i * strides[0], at + i * steps[0]);
            self.copy(items, from, at, inner, &strides[1..], &steps[1..], run);
        }
    }
}
