//! What a command was asked for, on standard output.
//!
//! Who reads may have seen enough, as in `weir dead-letters list | head`: then the rest is not written, and the
//! command does its work all the same.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something could not be written though somebody reads.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// As `print!` of the standard library, which panics where nobody reads.
macro_rules! print {
    ($($part:tt)*) => {
        $crate::cli::output::write(format_args!($($part)*))
    };
}

/// As `println!` of the standard library, which panics where nobody reads.
macro_rules! println {
    () => {
        $crate::cli::output::write(format_args!("\n"))
    };
    ($($part:tt)*) => {
        $crate::cli::output::write(format_args!("{}\n", format_args!($($part)*)))
    };
}

/// Writes to standard output.
pub(super) fn write(text: fmt::Arguments<'_>) {
    if write_to(&mut io::stdout().lock(), text) {
        return;
    }
    HAS_FAILED.store(true, Ordering::Relaxed);
}

/// Whether what the command has to say did not get through.
pub(super) fn has_failed() -> bool {
    if let Err(error) = io::stdout().lock().flush()
        && error.kind() != ErrorKind::BrokenPipe
    {
        HAS_FAILED.store(true, Ordering::Relaxed);
    }
    HAS_FAILED.load(Ordering::Relaxed)
}

/// Says whether it was written, or nobody reads it.
fn write_to(out: &mut impl Write, text: fmt::Arguments<'_>) -> bool {
    match out.write_fmt(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            tracing::error!(%error, "standard output cannot be written");
            false
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_has_to_read_to_the_end() {
        let mut text = Vec::new();
        assert!(write_to(&mut text, format_args!("{} samples", 3)));
        assert_eq!(text, b"3 samples");
        let gone = &mut Refusing(ErrorKind::BrokenPipe);
        assert!(write_to(gone, format_args!("more")));
        let full = &mut Refusing(ErrorKind::StorageFull);
        assert!(!write_to(full, format_args!("more")));
    }
}
