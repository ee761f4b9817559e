//! Names of genes.

use crate::anndata::AnnData;
use std::collections::HashSet;

/// Makes the names of the variables unique as anndata does: the k-th repetition of a name gets the
/// suffix `-k`, counting from 1 and skipping names that exist already.
pub fn var_names_make_unique(adata: &mut AnnData) {
    let unique = make_unique(adata.var.names());
    adata.var.set_names(unique).expect("as many names as before");
}

fn make_unique(names: &[String]) -> Vec<String> {
    // Every name that must not be given again: all the original ones, and those given here.
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut next: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        if seen.insert(name) {
            out.push(name.clone());
            continue;
        }
        let k = next.entry(name).or_insert(0);
        let fresh = loop {
            *k += 1;
            let candidate = format!("{name}-{k}");
            if taken.insert(candidate.clone()) {
                break candidate;
            }
        };
        out.push(fresh);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_get_numbers_that_are_free() {
        let names = ["a", "a", "b", "a-1", "a", "a-1"].map(String::from);
        assert_eq!(make_unique(&names), ["a", "a-2", "b", "a-1", "a-3", "a-1-1"]);
    }
}
