//! The twenty regions, unevenly populated.

use crate::random::mix;

/// Declares the regions: variant, name, and how many of a thousand vehicles are there.
macro_rules! regions {
    ($($region:ident $name:literal $per_mille:literal,)*) => {
        /// Where a vehicle is at home.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Region {
            $(#[doc = $name] $region,)*
        }

        impl Region {
            /// All regions.
            pub const ALL: [Self; 20] = [$(Self::$region,)*];

            /// The name as it stands in an event.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$region => $name,)* }
            }

            /// How many of a thousand vehicles are in this region.
            pub const fn per_mille(self) -> u32 {
                match self { $(Self::$region => $per_mille,)* }
            }

            /// The piece of an event from the vehicle's digits to the timestamp.
            pub(crate) const fn json(self) -> &'static [u8] {
                match self {
                    $(Self::$region => {
                        concat!("\",\"region\":\"", $name, "\",\"timestamp\":").as_bytes()
                    })*
                }
            }
        }
    };
}

regions! {
    Us "US" 220,
    Canada "Canada" 45,
    Mexico "Mexico" 50,
    Uk "UK" 70,
    Germany "Germany" 95,
    France "France" 70,
    Italy "Italy" 60,
    Spain "Spain" 50,
    Poland "Poland" 35,
    Sweden "Sweden" 25,
    Norway "Norway" 15,
    Australia "Australia" 35,
    NewZealand "New Zealand" 10,
    Japan "Japan" 90,
    Thailand "Thailand" 25,
    Malaysia "Malaysia" 20,
    SouthAfrica "South Africa" 20,
    Brazil "Brazil" 40,
    Argentina "Argentina" 15,
    Uae "UAE" 10,
}

impl Region {
    /// The region of a vehicle: a fixed function of its index, whatever the seed, so that a
    /// vehicle stays where it is from one run to the next.
    pub fn of_vehicle(index: u32) -> Self {
        let mut rest = (mix(u64::from(index)) % 1_000) as u32;
        for region in Self::ALL {
            if rest < region.per_mille() {
                return region;
            }
            rest -= region.per_mille();
        }
        Self::Us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_make_a_whole() {
        assert_eq!(
            Region::ALL
                .iter()
                .map(|region| region.per_mille())
                .sum::<u32>(),
            1_000
        );
    }

    #[test]
    fn vehicles_spread_by_the_shares() {
        let vehicles = 1_000_000;
        for region in Region::ALL {
            let found = (0..vehicles)
                .filter(|v| Region::of_vehicle(*v) == region)
                .count() as f64;
            let expected = f64::from(region.per_mille()) * f64::from(vehicles) / 1_000.0;
            assert!(
                (found / expected - 1.0).abs() < 0.05,
                "{region:?}: {found} for {expected}"
            );
        }
    }
}
