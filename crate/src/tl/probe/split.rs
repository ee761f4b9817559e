//! Splitting labelled observations into a training, a validation and a test part.

use crate::rng::Rng;

/// A class needs so many members to have one in each part.
pub(super) const FEWEST: usize = 3;

/// Positions of the observations of each part, rising.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Split {
    pub train: Vec<usize>,
    pub validation: Vec<usize>,
    pub test: Vec<usize>,
}

/// Of each class a tenth of the members, rounded but at least one, for validation, as many for
/// testing, and the others for training. Each class has at least [`FEWEST`] members.
pub(super) fn split(class: &[usize], classes: usize, seed: u64) -> Split {
    let mut members = vec![Vec::new(); classes];
    class.iter().enumerate().for_each(|(i, &c)| members[c].push(i));
    let mut rng = Rng::stream(seed, "linear_probe");
    let mut out = Split::default();
    for mut members in members {
        rng.shuffle(&mut members);
        let tenth = ((members.len() + 5) / 10).max(1);
        out.validation.extend(&members[..tenth]);
        out.test.extend(&members[tenth..2 * tenth]);
        out.train.extend(&members[2 * tenth..]);
    }
    for part in [&mut out.train, &mut out.validation, &mut out.test] {
        part.sort_unstable();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_in_every_part_in_its_proportion() {
        // 3, 4, 15, 104 members, in turns.
        let sizes = [3, 4, 15, 104];
        let mut class: Vec<usize> = (0..4).flat_map(|c| vec![c; sizes[c]]).collect();
        Rng::new(3).shuffle(&mut class);
        let s = split(&class, 4, 0);
        let count = |part: &[usize], c: usize| part.iter().filter(|&&i| class[i] == c).count();
        for (c, (train, tenth)) in [(1, 1), (2, 1), (11, 2), (84, 10)].into_iter().enumerate() {
            assert_eq!(count(&s.train, c), train);
            assert_eq!(count(&s.validation, c), tenth);
            assert_eq!(count(&s.test, c), tenth);
        }
        let mut all = [s.train.clone(), s.validation.clone(), s.test.clone()].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..class.len()), "each observation is in one part");
        assert_eq!(split(&class, 4, 0), s);
        assert_ne!(split(&class, 4, 1), s);
    }
}
