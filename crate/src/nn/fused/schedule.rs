//! Orders of work in which no two tasks of a round touch the same block.
//!
//! Where tiles (i, j) of a matrix each add to a block i and a block j, running the rounds one
//! after the other and the tasks of a round in parallel needs no copies of the blocks, and every
//! block receives its additions in the same order whatever the number of threads.

/// All pairs (i, j) with i ≤ j < n, in rounds in which no number occurs twice: the circle method
/// of round-robin tournaments. A player without opponent plays itself.
pub fn tournament(n: usize) -> Vec<Vec<(usize, usize)>> {
    let players = n + n % 2;
    let mut rounds = Vec::with_capacity(players);
    for r in 0..players.saturating_sub(1) {
        let other = |i: usize| (r + i) % (players - 1);
        let mut round = Vec::with_capacity(players / 2);
        // With an odd n the fixed player is the bye.
        round.push(if n % 2 == 1 { (r, r) } else { (r, players - 1) });
        for i in 1..players / 2 {
            let (a, b) = (other(i), other(players - 1 - i));
            round.push((a.min(b), a.max(b)));
        }
        rounds.push(round);
    }
    if n.is_multiple_of(2) && n > 0 {
        rounds.push((0..n).map(|i| (i, i)).collect());
    }
    rounds
}

/// All pairs (i, j) with i < a and j < b, in rounds in which no i and no j occurs twice.
pub fn grid(a: usize, b: usize) -> Vec<Vec<(usize, usize)>> {
    let m = a.max(b);
    (0..m).map(|r| (0..a).map(|i| (i, (i + r) % m)).filter(|&(_, j)| j < b).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_pair_comes_once_and_rounds_do_not_collide() {
        for n in 0..14 {
            let mut seen = HashSet::new();
            for round in tournament(n) {
                let mut busy = HashSet::new();
                for (i, j) in round {
                    assert!(i <= j && j < n, "n = {n}: ({i}, {j})");
                    assert!(seen.insert((i, j)), "n = {n}: ({i}, {j}) twice");
                    assert!(busy.insert(i) && (i == j || busy.insert(j)), "n = {n}: collision");
                }
            }
            assert_eq!(seen.len(), n * (n + 1) / 2);
        }
        for (a, b) in [(0, 3), (1, 1), (3, 5), (5, 3), (4, 4)] {
            let mut seen = HashSet::new();
            for round in grid(a, b) {
                let rows: HashSet<_> = round.iter().map(|p| p.0).collect();
                let columns: HashSet<_> = round.iter().map(|p| p.1).collect();
                assert!(rows.len() == round.len() && columns.len() == round.len());
                seen.extend(round);
            }
            assert_eq!(seen.len(), a * b);
        }
    }
}
