//! What the simulator shows, in one program, which is linked once.
#![allow(clippy::unwrap_used)]

/// A test for each scenario of a catalogue, by what `check` of the same file does about it; and one that none is missing.
macro_rules! scenarios {
    ($all:expr; $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*
        #[test]
        fn all_are_here() {
            assert_eq!($all.map(|scenario| scenario.name), [$(stringify!($name)),*]);
        }
    };
}

mod congestion;
mod extensions;
mod matrix;
mod paths;
mod qlog;
mod scenarios;
mod storm;
mod versions;
mod workers;
