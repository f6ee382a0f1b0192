//! Names that resemble another one.

/// How many names are told.
const MAX_NEAR: usize = 3;

/// Those of the known names that resemble `asked`, the nearest first. The place decides, which is
/// what stands behind the last `/`; or the whole, where the `/` was left out.
pub(super) fn names(asked: &str, known: impl Iterator<Item = String>) -> Vec<String> {
    let asked = asked.to_ascii_lowercase().replace(' ', "_");
    let allowed = place(&asked).chars().count() / 3;
    let mut near: Vec<(usize, usize, String)> = known
        .filter_map(|known| {
            let lower = known.to_ascii_lowercase();
            let whole = distance(&asked, &lower);
            let nearest = distance(place(&asked), place(&lower)).min(whole);
            (nearest <= allowed).then_some((nearest, whole, known))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().take(MAX_NEAR).map(|(_, _, known)| known).collect()
}

fn place(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// How many characters are to be added, removed or replaced to make one text of the other
/// (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (at, c) in one.chars().enumerate() {
        let (mut corner, mut left) = (at, at + 1);
        let mut row = vec![left];
        for (d, up) in other.iter().zip(above.iter().skip(1)) {
            left = (corner + usize::from(c != *d)).min(left + 1).min(up + 1);
            corner = *up;
            row.push(left);
        }
        above = row;
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_characters() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("berlin", "berlin", 0),
            ("berln", "berlin", 1),
            ("kitten", "sitting", 3),
            ("é", "e", 1),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }
}
