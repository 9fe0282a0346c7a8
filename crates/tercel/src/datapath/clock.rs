//! The only reader of the operating system's time and randomness.
