//! Blocks of ticket numbers.

/// Whether a room that has handed out `next` and may hand out `upto` needs another block: less than
/// half of one is left.
pub fn runs_low(next: i64, upto: i64, block: i64) -> bool {
    upto.saturating_sub(next) < block / 2 + block % 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetches_below_half_a_block() {
        for (next, upto, block, low) in [
            (0, 10, 10, false),
            (5, 10, 10, false),
            (6, 10, 10, true),
            (10, 10, 10, true),
            (0, 0, 10, true),
            (10, 10, 1, true),
            (9, 10, 1, false),
        ] {
            assert_eq!(runs_low(next, upto, block), low, "{next} of {upto}, blocks of {block}");
        }
    }
}
