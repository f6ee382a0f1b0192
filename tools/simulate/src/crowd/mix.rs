//! What buyers have in mind, and how many of each there are.

use std::{fmt, str::FromStr};

use rand::{Rng as _, rngs::StdRng};

/// What a buyer has in mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Buys and pays.
    Buy,
    /// Sends the order again and again, as an impatient or flaky client does.
    Retry,
    /// Pays with a card that is declined.
    Decline,
    /// Holds units and goes away.
    Abandon,
    /// Orders and cancels.
    Cancel,
    /// Wants more than one buyer may have.
    Greedy,
    /// Is a program that hammers: joins many times, orders without an admission, and many times
    /// with one.
    Bot,
}

impl Intent {
    const ALL: [(&'static str, Self); 7] = [
        ("buy", Self::Buy),
        ("retry", Self::Retry),
        ("decline", Self::Decline),
        ("abandon", Self::Abandon),
        ("cancel", Self::Cancel),
        ("greedy", Self::Greedy),
        ("bot", Self::Bot),
    ];

    /// The name in a mix.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, intent)| *intent == self).map_or("", |(name, _)| name)
    }
}

/// How many buyers of a hundred have what in mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mix(Vec<(Intent, u32)>);

impl Mix {
    /// The crowd of `flashsale run`.
    pub(crate) fn of_a_run() -> Self {
        Self(vec![
            (Intent::Retry, 10),
            (Intent::Decline, 8),
            (Intent::Abandon, 7),
            (Intent::Cancel, 5),
            (Intent::Greedy, 3),
            (Intent::Buy, 67),
        ])
    }

    /// What one buyer has in mind.
    pub(crate) fn draw(&self, rng: &mut StdRng) -> Intent {
        let mut left: u32 = rng.random_range(0..100);
        for (intent, share) in &self.0 {
            if left < *share {
                return *intent;
            }
            left -= share;
        }
        Intent::Buy
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (intent, share)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}={share}", intent.name())?;
        }
        Ok(())
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix: Vec<(Intent, u32)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let Some((name, share)) = part.split_once('=') else {
                return Err(format!("{part:?} is not a part of a mix, such as buy=67"));
            };
            let Some((_, intent)) = Intent::ALL.iter().find(|(known, _)| *known == name.trim())
            else {
                let known: Vec<&str> = Intent::ALL.iter().map(|(name, _)| *name).collect();
                return Err(format!(
                    "there are no {name:?} buyers in {part:?}; there are: {}",
                    known.join(", ")
                ));
            };
            let share = match share.trim().parse::<u32>() {
                Ok(share) if share <= 100 => share,
                _ => return Err(format!("{part:?} needs a whole number of percent, 0 to 100")),
            };
            if mix.iter().any(|(had, _)| had == intent) {
                return Err(format!("{name:?} is there twice"));
            }
            mix.push((*intent, share));
        }
        let sum: u32 = mix.iter().map(|(_, share)| share).sum();
        if sum != 100 {
            return Err(format!("the parts add up to {sum} percent, not to 100"));
        }
        Ok(Self(mix))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_mix_is_read_as_it_is_written_and_drawn_as_it_says() {
        let text = "buy=50,bot=30,cancel=20";
        let mix: Mix = text.parse().unwrap();
        assert_eq!(mix.to_string(), text);
        let mut rng = StdRng::seed_from_u64(7);
        let bots = (0..10_000).filter(|_| mix.draw(&mut rng) == Intent::Bot).count();
        assert!((2_800..3_200).contains(&bots), "{bots} bots of 10000 with seed 7");
    }

    #[test]
    fn what_is_wrong_with_a_mix_is_said_with_the_part_that_is_wrong() {
        for (text, said) in [
            ("buy=60,thief=40", "no \"thief\" buyers"),
            ("buy=60,retry", "\"retry\" is not a part"),
            ("buy=x,retry=5", "\"buy=x\" needs a whole number"),
            ("buy=-5,retry=105", "\"buy=-5\" needs a whole number"),
            ("buy=60,retry=10", "add up to 70 percent"),
            ("buy=50,buy=50", "\"buy\" is there twice"),
            ("", "\"\" is not a part"),
        ] {
            let error = text.parse::<Mix>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
