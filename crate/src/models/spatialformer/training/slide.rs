//! [`TrainingSlide`]: the cells of a slide as they are trained on, in memory or on disk.
//!
//! ```text
//! file: magic, cells, origin; of each cell its place (2 × f64) and where it begins (u64);
//!       of each cell: genes, pairs (u32 each), the genes (u32), the pairs (2 × u32)
//! ```

use super::super::embed::{Origin, origin_of};
use super::super::vocabulary::Vocabulary;
use super::batch::TrainingCell;
use super::together::{TogetherRule, Transcripts};
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use ndarray::Array2;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"skspaf01";
/// Magic, number of cells, four tokens.
const HEADER: u64 = 8 + 8 + 16;

/// Cells to train on.
#[derive(Debug, Clone)]
pub struct TrainingSlide {
    pub(super) origin: [u32; 4],
    /// Cells × 2, in the units of the slide.
    pub(super) places: Array2<f64>,
    cells: Cells,
}

#[derive(Debug, Clone)]
enum Cells {
    Here(Arc<Vec<TrainingCell>>),
    File { path: PathBuf, file: Arc<File>, starts: Arc<Vec<u64>> },
}

/// How a slide becomes a [`TrainingSlide`]. A builder.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prepare {
    pub(super) origin: Origin,
    rule: TogetherRule,
}

origin_of!(Prepare);

impl Prepare {
    /// When two genes lie together.
    pub fn together(mut self, rule: TogetherRule) -> Self {
        self.rule = rule;
        self
    }

    /// The slide's cells: their genes ranked, which of them lie together (by the slide's transcripts,
    /// where there are any), and where the cells lie (`obsm["spatial"]`).
    ///
    /// # Errors
    /// Those of [`embed`](super::super::embed); [`Error::MissingKey`] without coordinates; those of
    /// [`Transcripts::together`].
    pub fn slide(
        &self,
        adata: &AnnData,
        vocabulary: &Vocabulary,
        transcripts: Option<&Transcripts>,
    ) -> Result<TrainingSlide> {
        let origin = self.origin.tokens(vocabulary)?;
        let tokenizer = self.origin.tokenizer(adata, vocabulary)?;
        let places = adata.spatial()?;
        let rows: Vec<usize> = (0..adata.n_obs()).collect();
        let ranked = tokenizer.rank(&rows, self.origin.max_len)?;
        let together = match transcripts {
            Some(transcripts) => transcripts.together(adata, &self.rule)?,
            None => vec![Vec::new(); adata.n_obs()],
        };
        let cell = |(genes, pairs): (Vec<u32>, Vec<(u32, u32)>)| {
            let at: HashMap<u32, u32> = genes.iter().zip(0..).map(|(&g, i)| (g, i)).collect();
            let place = |gene: u32| tokenizer.token(gene).and_then(|t| at.get(&t).copied());
            let mut together = Vec::new();
            for (a, b) in pairs {
                if let (Some(a), Some(b)) = (place(a), place(b)) {
                    together.extend([(a, b), (b, a)]);
                }
            }
            TrainingCell { genes, together }
        };
        let cells: Vec<TrainingCell> = ranked.into_iter().zip(together).map(cell).collect();
        Ok(TrainingSlide { origin, places, cells: Cells::Here(Arc::new(cells)) })
    }
}

impl TrainingSlide {
    /// Number of cells.
    pub fn len(&self) -> usize {
        self.places.nrows()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A cell.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] when it cannot be read.
    pub fn cell(&self, i: usize) -> Result<TrainingCell> {
        match &self.cells {
            Cells::Here(cells) => cells
                .get(i)
                .cloned()
                .ok_or_else(|| Error::parameter("cell", i, format!("there are {}", cells.len()))),
            Cells::File { path, file, starts } => read_cell(path, file, starts, i),
        }
    }

    /// Writes the slide into a file, beside an earlier one and in its place;
    /// [`open`](TrainingSlide::open) reads cells from it as they are needed.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let io = |e| Error::io(path, e);
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let beside =
            tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(io)?;
        let mut out = BufWriter::with_capacity(1 << 20, beside.as_file());
        let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(io);
        put(MAGIC)?;
        put(&(self.len() as u64).to_le_bytes())?;
        for token in self.origin {
            put(&token.to_le_bytes())?;
        }
        let mut at = HEADER + self.len() as u64 * 24;
        for i in 0..self.len() {
            for axis in 0..2 {
                put(&self.places[(i, axis)].to_le_bytes())?;
            }
            put(&at.to_le_bytes())?;
            let cell = self.cell(i)?;
            at += 8 + 4 * (cell.genes.len() + 2 * cell.together.len()) as u64;
        }
        for i in 0..self.len() {
            let cell = self.cell(i)?;
            let counts = [cell.genes.len() as u32, cell.together.len() as u32];
            let pairs = cell.together.iter().flat_map(|&(a, b)| [a, b]);
            for number in counts.into_iter().chain(cell.genes.iter().copied()).chain(pairs) {
                put(&number.to_le_bytes())?;
            }
        }
        out.flush().map_err(io)?;
        drop(out);
        beside.persist(path).map_err(|e| io(e.error))?;
        Ok(())
    }

    /// Opens what [`write`](TrainingSlide::write) wrote. Cells stay on disk.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Format`] when it is no such file or is cut short.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |e| Error::io(path, e);
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let wrong = |reason: &str| {
            Error::format(path, format!("not a slide to train on: {reason}"))
                .with_hint("`TrainingSlide::write` makes one")
        };
        let mut header = [0u8; HEADER as usize];
        if size < HEADER {
            return Err(wrong("it is too short"));
        }
        file.read_exact_at(&mut header, 0).map_err(io)?;
        if header[..8] != *MAGIC {
            return Err(wrong("it begins otherwise"));
        }
        let mut n = [0; 8];
        n.copy_from_slice(&header[8..16]);
        let n = u64::from_le_bytes(n);
        if n > (size - HEADER) / 24 {
            return Err(wrong("it is cut short"));
        }
        let origin = std::array::from_fn(|i| number(&header[16 + 4 * i..]));
        let mut table = vec![0u8; n as usize * 24];
        file.read_exact_at(&mut table, HEADER).map_err(io)?;
        let words: Vec<[u8; 8]> = table.as_chunks::<8>().0.to_vec();
        let places = Array2::from_shape_fn((n as usize, 2), |(i, axis)| {
            f64::from_le_bytes(words[3 * i + axis])
        });
        let starts: Vec<u64> =
            words.iter().skip(2).step_by(3).map(|w| u64::from_le_bytes(*w)).collect();
        if starts.iter().any(|&s| s + 8 > size) || !starts.is_sorted() {
            return Err(wrong("it is cut short"));
        }
        let mut starts = starts;
        starts.push(size);
        let (path, file) = (path.to_path_buf(), Arc::new(file));
        let cells = Cells::File { path, file, starts: Arc::new(starts) };
        Ok(TrainingSlide { origin, places, cells })
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b))
}

fn read_cell(path: &Path, file: &File, starts: &[u64], i: usize) -> Result<TrainingCell> {
    let (Some(&start), Some(&end)) = (starts.get(i), starts.get(i + 1)) else {
        return Err(Error::parameter("cell", i, format!("there are {}", starts.len() - 1)));
    };
    let mut bytes = vec![0u8; (end - start) as usize];
    file.read_exact_at(&mut bytes, start).map_err(|e| Error::io(path, e))?;
    let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).collect();
    let damaged = || Error::format(path, format!("cell {i} is damaged"));
    let &[genes, pairs, ref rest @ ..] = &words[..] else { return Err(damaged()) };
    let (genes, pairs) = (genes as usize, pairs as usize);
    if rest.len() != genes + 2 * pairs {
        return Err(damaged());
    }
    let (genes, pairs) = rest.split_at(genes);
    let n = genes.len() as u32;
    if pairs.iter().any(|&p| p >= n) {
        return Err(damaged());
    }
    let together = pairs.as_chunks::<2>().0.iter().map(|&[a, b]| (a, b)).collect();
    Ok(TrainingCell { genes: genes.to_vec(), together })
}
