//! Ids of nodes from names that other tools allow: no two become one, and those that can stay as they are do.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{NAME_LENGTH_MAX, NodeId};

/// An id for each name, in the same order. Ids also differ without regard to capitals, since some file systems have none.
#[must_use]
pub(super) fn node_ids(names: &[&str]) -> Vec<NodeId> {
    let mut taken = BTreeSet::new();
    let mut ids: Vec<Option<NodeId>> =
        names.iter().map(|name| NodeId::parse(name).ok().filter(|_| taken.insert(name.to_ascii_lowercase()))).collect();
    let mut next: BTreeMap<String, u32> = BTreeMap::new();
    for (id, name) in ids.iter_mut().zip(names).filter(|(id, _)| id.is_none()) {
        let base = sanitised(name);
        *id = loop {
            let number = next.entry(base.to_ascii_lowercase()).or_insert(1);
            let candidate = if *number == 1 { base.clone() } else { numbered(&base, *number) };
            *number += 1;
            if taken.insert(candidate.to_ascii_lowercase())
                && let Ok(id) = NodeId::parse(&candidate)
            {
                break Some(id);
            }
        };
    }
    ids.into_iter().flatten().collect()
}

fn sanitised(name: &str) -> String {
    let fits = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let mut id: String = name.chars().take(NAME_LENGTH_MAX).map(fits).collect();
    if !id.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        id.insert(0, '_');
        id.truncate(NAME_LENGTH_MAX);
    }
    id
}

fn numbered(base: &str, number: u32) -> String {
    let ending = format!("_{number}");
    format!("{}{ending}", &base[..base.len().min(NAME_LENGTH_MAX - ending.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ids_without_collisions() {
        let long = "x".repeat(70);
        let names = ["a b", "a_b", "a.b", "1st", "", "A_B", "ä", &long, &format!("{long}y"), "a b", "ok"];
        let ids: Vec<String> = node_ids(&names).iter().map(ToString::to_string).collect();
        let cut = "x".repeat(64);
        assert_eq!(ids[..7], ["a_b_2", "a_b", "a_b_3", "_1st", "_", "A_B_4", "__2"]);
        assert_eq!(ids[7..], [cut.clone(), format!("{}_2", &cut[..62]), "a_b_5".into(), "ok".into()]);
        let many: Vec<String> = (0..5000).map(|number| format!("{long}{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let distinct: BTreeSet<String> = node_ids(&many).iter().map(|id| id.as_str().to_ascii_lowercase()).collect();
        assert_eq!(distinct.len(), 5000);
    }
}
