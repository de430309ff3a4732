//! Circles of a graph: for every edge that closes one, the shortest circle through it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// For each node the nodes that it points to.
pub type Edges<'a, T> = BTreeMap<&'a T, Vec<&'a T>>;

/// Circles that together hold every edge that is part of any; each begins with its least node.
/// The shortest come first.
pub fn circles<'a, T: Ord + ?Sized>(edges: &Edges<'a, T>) -> Vec<Vec<&'a T>> {
    let mut found = BTreeSet::new();
    for (&from, targets) in edges {
        for &to in targets {
            if let Some(back) = shortest(edges, to, from) {
                found.insert(from_least(back));
            }
        }
    }
    let mut circles: Vec<_> = found.into_iter().collect();
    circles.sort_by_key(Vec::len);
    circles
}

/// The nodes of the shortest way between two nodes, both included.
fn shortest<'a, T: Ord + ?Sized>(
    edges: &Edges<'a, T>,
    from: &'a T,
    to: &'a T,
) -> Option<Vec<&'a T>> {
    let mut before = BTreeMap::from([(from, from)]);
    let mut open = VecDeque::from([from]);
    while let Some(node) = open.pop_front() {
        if node == to {
            let mut way = vec![to];
            while way[way.len() - 1] != from {
                way.push(before[way[way.len() - 1]]);
            }
            way.reverse();
            return Some(way);
        }
        for &next in edges.get(node).into_iter().flatten() {
            before.entry(next).or_insert_with(|| {
                open.push_back(next);
                node
            });
        }
    }
    None
}

fn from_least<T: Ord + ?Sized>(mut circle: Vec<&T>) -> Vec<&T> {
    let least = circle.iter().enumerate().min_by_key(|(_, node)| **node);
    let least = least.map_or(0, |(index, _)| index);
    circle.rotate_left(least);
    circle
}
